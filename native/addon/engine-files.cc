// The methods of class Engine that work on files of a sandbox.
#include "arguments.h"
#include "engine.h"
#include "reply.h"

Napi::Value Engine::WriteFile(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  uint64_t sandbox = arguments.Number(0, "sandbox");
  std::string path = arguments.Text(1, "path");
  auto content = arguments.Bytes(2, "content");
  Napi::Function done = arguments.Callback(3);
  if (!arguments.Ok()) return {};
  auto* reply = new DoneReply(this, done);
  if (engine_)
    osb_file_write(engine_, sandbox, path.c_str(), content.first, content.second, DoneReply::Take, reply);
  else
    reply->Send(&kClosed);
  return info.Env().Undefined();
}

Napi::Value Engine::ReadFile(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  uint64_t sandbox = arguments.Number(0, "sandbox");
  std::string path = arguments.Text(1, "path");
  uint64_t max_bytes = arguments.Number(2, "maxBytes");
  Napi::Function done = arguments.Callback(3);
  if (!arguments.Ok()) return {};
  auto* reply = new ReadReply(this, done);
  if (engine_)
    osb_file_read(engine_, sandbox, path.c_str(), max_bytes, ReadReply::Take, reply);
  else
    reply->Send(&kClosed);
  return info.Env().Undefined();
}

Napi::Value Engine::ListDirectory(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  uint64_t sandbox = arguments.Number(0, "sandbox");
  std::string path = arguments.Text(1, "path");
  uint32_t max_entries = static_cast<uint32_t>(arguments.Number(2, "maxEntries"));
  Napi::Function done = arguments.Callback(3);
  if (!arguments.Ok()) return {};
  auto* reply = new ListedReply(this, done);
  if (engine_)
    osb_directory_list(engine_, sandbox, path.c_str(), max_entries, ListedReply::Take, reply);
  else
    reply->Send(&kClosed);
  return info.Env().Undefined();
}

Napi::Value Engine::CheckDirectory(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  uint64_t sandbox = arguments.Number(0, "sandbox");
  std::string path = arguments.Text(1, "path");
  Napi::Function done = arguments.Callback(2);
  if (!arguments.Ok()) return {};
  auto* reply = new DoneReply(this, done);
  if (engine_)
    osb_directory_check(engine_, sandbox, path.c_str(), DoneReply::Take, reply);
  else
    reply->Send(&kClosed);
  return info.Env().Undefined();
}
