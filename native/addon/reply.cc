#include "reply.h"

#include <cstdlib>
#include <utility>

extern "C" {
#include "../protocol.h"
}

namespace {

const char* CauseName(uint32_t cause) {
  switch (cause) {
    case OSB_CAUSE_EXITED: return "exited";
    case OSB_CAUSE_SIGNALED: return "signaled";
    case OSB_CAUSE_CPU_LIMIT: return "cpu_limit";
    case OSB_CAUSE_WALL_LIMIT: return "wall_limit";
    case OSB_CAUSE_MEMORY_LIMIT: return "memory_limit";
    case OSB_CAUSE_OUTPUT_LIMIT: return "output_limit";
    case OSB_CAUSE_EXEC_FAILED: return "exec_failed";
    case OSB_CAUSE_CANCELLED: return "cancelled";
    default: return "session_ended";
  }
}

const char* StageName(uint32_t stage) {
  switch (stage) {
    case OSB_STAGE_REQUEST: return "request";
    case OSB_STAGE_FORK: return "fork";
    case OSB_STAGE_CGROUP: return "cgroup";
    case OSB_STAGE_LIMITS: return "limits";
    case OSB_STAGE_STDIO: return "stdio";
    case OSB_STAGE_CWD: return "cwd";
    case OSB_STAGE_EXEC: return "exec";
    default: return "";
  }
}

void Set(Napi::Object object, const char* name, uint64_t number) { object.Set(name, static_cast<double>(number)); }

}  // namespace

RanReply::~RanReply() {
  free(outcome_.out);
  free(outcome_.err);
}

void RanReply::Take(void* context, const osb_error* error, osb_outcome* outcome) {
  auto* self = static_cast<RanReply*>(context);
  if (outcome) {
    self->outcome_ = *outcome;
    self->text_ = outcome->text;
  }
  self->Send(error);
}

Napi::Value RanReply::ToValue(Napi::Env env) {
  const osb_outcome& outcome = outcome_;
  auto number = [env](uint64_t value) { return Napi::Number::New(env, static_cast<double>(value)); };
  auto text = [env](const std::string& value) { return Napi::String::New(env, value); };
  return engine()->MakeOutcome({
      text(CauseName(outcome.cause)),
      text(StageName(outcome.stage)),
      text(text_.empty() ? ErrnoName(outcome.error) : text_),
      Napi::Number::New(env, outcome.exit_code),
      Napi::Number::New(env, outcome.signal),
      number(outcome.leftover),
      number(outcome.cpu_us),
      number(outcome.wall_us),
      number(outcome.memory_peak_bytes),
      ToBuffer(env, std::exchange(outcome_.out, nullptr), outcome.out_bytes),
      ToBuffer(env, std::exchange(outcome_.err, nullptr), outcome.err_bytes),
      Napi::Boolean::New(env, outcome.out_truncated),
      Napi::Boolean::New(env, outcome.err_truncated),
  });
}

ReadReply::~ReadReply() { free(bytes_); }

void ReadReply::Take(void* context, const osb_error* error, uint8_t* bytes, size_t count) {
  auto* self = static_cast<ReadReply*>(context);
  self->bytes_ = bytes;
  self->count_ = count;
  self->Send(error);
}

Napi::Value ReadReply::ToValue(Napi::Env env) { return ToBuffer(env, std::exchange(bytes_, nullptr), count_); }

void ListedReply::Take(void* context, const osb_error* error, const osb_entry* entries, size_t count) {
  auto* self = static_cast<ListedReply*>(context);
  self->entries_.reserve(count);
  for (size_t i = 0; i < count; i++)
    self->entries_.push_back({entries[i].name, entries[i].is_directory, entries[i].size});
  self->Send(error);
}

Napi::Value ListedReply::ToValue(Napi::Env env) {
  Napi::Array array = Napi::Array::New(env, entries_.size());
  for (uint32_t i = 0; i < entries_.size(); i++) {
    Napi::HandleScope scope(env);
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", entries_[i].name);
    entry.Set("isDirectory", entries_[i].is_directory);
    Set(entry, "size", entries_[i].size);
    array.Set(i, entry);
  }
  return array;
}
