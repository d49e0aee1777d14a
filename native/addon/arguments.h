// The arguments of a call from JavaScript.
#ifndef OSB_ADDON_ARGUMENTS_H
#define OSB_ADDON_ARGUMENTS_H

#include <string>
#include <utility>

#include "convert.h"

// The arguments of one method: a handle, a path, a number, and the callback at `last`. A wrong one becomes a
// TypeError that names it.
class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info) {}

  uint64_t Number(size_t index, const char* name) {
    uint64_t number = 0;
    if (!ToNumber(info_[index], &number)) Fail(name, "a number from 0 to 2^53 - 1");
    return number;
  }
  std::string Text(size_t index, const char* name) {
    std::string text;
    if (!ToText(info_[index], &text)) Fail(name, "a string without NUL");
    return text;
  }
  std::pair<const uint8_t*, size_t> Bytes(size_t index, const char* name) {
    std::pair<const uint8_t*, size_t> bytes{nullptr, 0};
    if (!ToBytes(info_[index], &bytes)) Fail(name, "a Uint8Array");
    return bytes;
  }
  Napi::Object Object(size_t index, const char* name) {
    if (info_[index].IsObject()) return info_[index].As<Napi::Object>();
    Fail(name, "an object");
    return Napi::Object::New(info_.Env());
  }
  Napi::Function Callback(size_t index) {
    if (info_[index].IsFunction()) return info_[index].As<Napi::Function>();
    Fail("done", "a function");
    return Napi::Function();
  }
  bool Ok() {
    if (info_.Env().IsExceptionPending()) return false;
    return problem_.empty() || Throw(info_.Env(), problem_.c_str());
  }

 private:
  void Fail(const char* name, const char* expected) {
    if (problem_.empty()) problem_ = std::string(name) + " must be " + expected;
  }

  const Napi::CallbackInfo& info_;
  std::string problem_;
};

#endif
