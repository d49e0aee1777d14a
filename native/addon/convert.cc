#include "convert.h"

#include <cstdlib>
#include <cstring>

namespace {
// Below, a copy into a buffer of V8's own is cheaper than one more external memory to keep track of.
constexpr size_t kCopyBytes = 16384;
constexpr double kMaxSafeInteger = 9007199254740991.0;
}  // namespace

bool ToText(Napi::Value value, std::string* text) {
  if (!value.IsString()) return false;
  *text = value.As<Napi::String>().Utf8Value();
  return text->find('\0') == std::string::npos;
}

bool ToBytes(Napi::Value value, std::pair<const uint8_t*, size_t>* bytes) {
  if (!value.IsTypedArray()) return false;
  auto array = value.As<Napi::TypedArray>();
  if (array.TypedArrayType() != napi_uint8_array) return false;
  auto uint8s = array.As<Napi::Uint8Array>();
  *bytes = {uint8s.Data(), uint8s.ByteLength()};
  return true;
}

bool ToNumber(Napi::Value value, uint64_t* number) {
  if (!value.IsNumber()) return false;
  double d = value.As<Napi::Number>().DoubleValue();
  if (!(d >= 0 && d <= kMaxSafeInteger)) return false;
  *number = static_cast<uint64_t>(d);
  return true;
}

bool Throw(Napi::Env env, const char* problem) {
  Napi::TypeError::New(env, problem).ThrowAsJavaScriptException();
  return false;
}

Napi::Value Reader::Get(const char* name) { return listed_ ? object_.Get(next_++) : object_.Get(name); }

void Reader::Fail(const char* name, const char* expected) {
  if (problem_.empty()) problem_ = std::string(name) + " must be " + expected;
}

std::string Reader::Text(const char* name) {
  std::string text;
  if (!ToText(Get(name), &text)) Fail(name, "a string without NUL");
  return text;
}

uint64_t Reader::Number(const char* name) {
  uint64_t number = 0;
  if (!ToNumber(Get(name), &number)) Fail(name, "a number from 0 to 2^53 - 1");
  return number;
}

bool Reader::Flag(const char* name) {
  Napi::Value value = Get(name);
  if (!value.IsBoolean()) Fail(name, "a boolean");
  return value.IsBoolean() && value.As<Napi::Boolean>().Value();
}

std::vector<std::string> Reader::Texts(const char* name) {
  std::vector<std::string> texts;
  Napi::Value value = Get(name);
  if (!value.IsArray()) {
    Fail(name, "an array of strings");
    return texts;
  }
  auto array = value.As<Napi::Array>();
  texts.resize(array.Length());
  for (uint32_t i = 0; i < texts.size(); i++) {
    Napi::HandleScope scope(object_.Env());
    if (!ToText(array.Get(i), &texts[i])) Fail(name, "an array of strings without NUL");
  }
  return texts;
}

std::vector<std::pair<std::string, std::string>> Reader::Pairs(const char* name) {
  std::vector<std::pair<std::string, std::string>> pairs;
  Napi::Value value = Get(name);
  if (!value.IsArray()) {
    Fail(name, "an array of pairs");
    return pairs;
  }
  auto array = value.As<Napi::Array>();
  pairs.resize(array.Length());
  for (uint32_t i = 0; i < pairs.size(); i++) {
    Napi::HandleScope scope(object_.Env());
    Napi::Value pair = array.Get(i);
    if (!pair.IsArray() || !ToText(pair.As<Napi::Array>().Get(uint32_t{0}), &pairs[i].first) ||
        !ToText(pair.As<Napi::Array>().Get(uint32_t{1}), &pairs[i].second))
      Fail(name, "an array of pairs of strings without NUL");
  }
  return pairs;
}

std::pair<const uint8_t*, size_t> Reader::Bytes(const char* name) {
  std::pair<const uint8_t*, size_t> bytes{nullptr, 0};
  if (!ToBytes(Get(name), &bytes)) Fail(name, "a Uint8Array");
  return bytes;
}

bool Reader::Ok() {
  if (object_.Env().IsExceptionPending()) return false;  // a getter's
  return problem_.empty() || Throw(object_.Env(), problem_.c_str());
}

std::string ErrnoName(int number) {
  if (number == 0) return "";
  const char* name = strerrorname_np(number);
  return name ? name : "E" + std::to_string(number);
}

Napi::Value ToError(Napi::Env env, const osb_error& error) {
  Napi::Object object = Napi::Error::New(env, error.text).Value();
  object.Set("code", ErrnoName(error.code));
  object.Set("errno", error.code);
  return object;
}

Napi::Value ToBuffer(Napi::Env env, uint8_t* bytes, size_t count) {
  if (count >= kCopyBytes)
    return Napi::Buffer<uint8_t>::NewOrCopy(env, bytes, count, [](Napi::Env, uint8_t* data) { free(data); });
  Napi::Value copy = Napi::Buffer<uint8_t>::Copy(env, bytes, count);
  free(bytes);
  return copy;
}

Napi::Object ToObject(Napi::Env env, const osb_host_report& report) {
  Napi::Object limits = Napi::Object::New(env);
  limits.Set("cpu", report.cpu);
  limits.Set("wall", report.wall);
  limits.Set("memory", report.memory);
  limits.Set("pids", report.pids);
  limits.Set("fsize", report.fsize);
  limits.Set("nofile", report.nofile);
  limits.Set("output", report.output);
  limits.Set("disk", report.disk);
  Napi::Array problems = Napi::Array::New(env, report.nproblems);
  for (uint32_t i = 0; i < report.nproblems; i++) problems.Set(i, Napi::String::New(env, report.problems[i]));
  Napi::Object object = Napi::Object::New(env);
  object.Set("cgroup", report.cgroup);
  object.Set("limits", limits);
  object.Set("problems", problems);
  return object;
}
