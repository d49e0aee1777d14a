#include "engine.h"

#include "arguments.h"
#include "convert.h"
#include "reply.h"

extern "C" {
#include "../protocol.h"
}

namespace {

// An init ended by itself.
class LostLetter : public Letter {
 public:
  LostLetter(Engine* engine, uint64_t sandbox, const char* reason)
      : engine_(engine), sandbox_(sandbox), reason_(reason) {}
  void Open(Napi::Env) override { engine_->TellLost(sandbox_, reason_); }

 private:
  Engine* engine_;
  uint64_t sandbox_;
  std::string reason_;
};

void OnLost(void* context, uint64_t sandbox, const char* reason) {
  auto* engine = static_cast<Engine*>(context);
  engine->mailbox().Post(std::make_unique<LostLetter>(engine, sandbox, reason));
}

constexpr const char* kMakeOutcome =
    "(cause, stage, error, exitCode, signal, leftover, cpuUs, wallUs, memoryPeakBytes, stdout, stderr, stdoutTruncated,"
    " stderrTruncated) => ({ cause, stage, error, exitCode, signal, leftover, cpuUs, wallUs, memoryPeakBytes, stdout,"
    " stderr, stdoutTruncated, stderrTruncated })";
// stdin last: a getter of another property could have detached its memory.
constexpr const char* kListExec =
    "c => [c.argv, c.env, c.cwd, c.cpuMs, c.wallMs, c.memoryBytes, c.fileSizeBytes, c.openFiles, c.processes,"
    " c.outputBytes, c.stdin]";

Napi::Function Evaluate(Napi::Env env, const char* source) { return env.RunScript(source).As<Napi::Function>(); }

std::vector<const char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<const char*> pointers;
  pointers.reserve(texts.size());
  for (const auto& text : texts) pointers.push_back(text.c_str());
  return pointers;
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

template <typename Pair>
std::vector<Pair> PairPointers(const Pairs& pairs) {
  std::vector<Pair> pointers;
  pointers.reserve(pairs.size());
  for (const auto& pair : pairs) pointers.push_back({pair.first.c_str(), pair.second.c_str()});
  return pointers;
}

}  // namespace

// ---- Life ----

Napi::Function Engine::Define(Napi::Env env) {
  return DefineClass(env, "Engine",
                     {
                         InstanceMethod<&Engine::CreateSandbox>("createSandbox"),
                         InstanceMethod<&Engine::Exec>("exec"),
                         InstanceMethod<&Engine::Kill>("kill"),
                         InstanceMethod<&Engine::WriteFile>("writeFile"),
                         InstanceMethod<&Engine::ReadFile>("readFile"),
                         InstanceMethod<&Engine::ListDirectory>("listDirectory"),
                         InstanceMethod<&Engine::CheckDirectory>("checkDirectory"),
                         InstanceMethod<&Engine::DestroySandbox>("destroySandbox"),
                         InstanceMethod<&Engine::Close>("close"),
                     });
}

static void OnEnvironmentEnd(void* shut_down) { (*static_cast<std::function<void()>*>(shut_down))(); }

Engine::Engine(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Engine>(info) {
  Arguments arguments(info);
  std::string name = arguments.Text(0, "name");
  Napi::Function on_lost = arguments.Callback(1);
  if (!arguments.Ok()) return;
  mailbox_ = std::make_unique<Mailbox>(info.Env());
  osb_engine_config config{};
  config.name = name.c_str();
  config.on_lost = OnLost;
  config.context = this;
  osb_error error{};
  engine_ = osb_engine_open(&config, &error);
  if (!engine_) {
    Napi::Error(info.Env(), ToError(info.Env(), error)).ThrowAsJavaScriptException();
    return;
  }
  on_lost_ = Napi::Persistent(on_lost);
  make_outcome_ = Napi::Persistent(Evaluate(info.Env(), kMakeOutcome));
  list_exec_ = Napi::Persistent(Evaluate(info.Env(), kListExec));
  shut_down_ = [this] { ShutDown(); };
  napi_add_env_cleanup_hook(info.Env(), OnEnvironmentEnd, &shut_down_);
}

Engine::~Engine() {
  if (shut_down_) napi_remove_env_cleanup_hook(Env(), OnEnvironmentEnd, &shut_down_);
  ShutDown();
}

void Engine::ShutDown() {
  if (engine_) {
    if (!closing_) osb_engine_close(engine_, [](void*, const osb_error*) {}, nullptr);
    osb_engine_free(engine_);
    engine_ = nullptr;
  }
  if (mailbox_) mailbox_->Close();
}

void Engine::CloseDone() {
  if (!engine_ || !closing_) return;
  osb_engine_free(engine_);
  engine_ = nullptr;
}

void Engine::Begin() {
  if (under_way_++ > 0) return;
  Ref();
  mailbox_->Await(true);
}

void Engine::End() {
  if (--under_way_ > 0) return;
  mailbox_->Await(false);
  Unref();
}

void Engine::TellLost(uint64_t sandbox, const std::string& reason) {
  Napi::Env env = Env();
  on_lost_.Call({Napi::Number::New(env, static_cast<double>(sandbox)), Napi::String::New(env, reason)});
}

Napi::Value Engine::MakeOutcome(std::initializer_list<napi_value> properties) {
  return make_outcome_.Call(properties);
}

// ---- Methods ----

Napi::Value Engine::CreateSandbox(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  Reader reader(arguments.Object(0, "config"));
  Napi::Function done = arguments.Callback(1);
  if (!arguments.Ok()) return {};
  std::string hostname = reader.Text("hostname");
  osb_sandbox_config config{};
  config.hostname = hostname.c_str();
  config.disk_bytes = reader.Number("diskBytes");
  config.disk_inodes = reader.Number("diskInodes");
  config.shm_bytes = reader.Number("shmBytes");
  config.session_memory_bytes = reader.Number("sessionMemoryBytes");
  config.session_processes = static_cast<uint32_t>(reader.Number("sessionProcesses"));
  config.host_network = reader.Flag("hostNetwork");
  Pairs binds = reader.Pairs("binds"), links = reader.Pairs("links"), files = reader.Pairs("files");
  if (!reader.Ok()) return {};
  auto bind_pointers = PairPointers<osb_bind>(binds);
  auto link_pointers = PairPointers<osb_link>(links);
  auto file_pointers = PairPointers<osb_file>(files);
  config.binds = bind_pointers.data();
  config.nbinds = bind_pointers.size();
  config.links = link_pointers.data();
  config.nlinks = link_pointers.size();
  config.files = file_pointers.data();
  config.nfiles = file_pointers.size();
  auto* reply = new CreatedReply(this, done);
  if (engine_)
    osb_sandbox_create(engine_, &config, CreatedReply::Take, reply);
  else
    reply->Send(&kClosed);
  return info.Env().Undefined();
}

Napi::Value Engine::Exec(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  uint64_t sandbox = arguments.Number(0, "sandbox");
  Napi::Object object = arguments.Object(1, "config");
  Napi::Function done = arguments.Callback(2);
  if (!arguments.Ok()) return {};
  Napi::Value list = list_exec_.Call({object});
  if (info.Env().IsExceptionPending()) return {};
  Reader reader(list.As<Napi::Array>());
  std::vector<std::string> argv = reader.Texts("argv"), env = reader.Texts("env");
  std::string cwd = reader.Text("cwd");
  osb_exec_config config{};
  config.cwd = cwd.c_str();
  config.cpu_ms = reader.Number("cpuMs");
  config.wall_ms = reader.Number("wallMs");
  config.memory_bytes = reader.Number("memoryBytes");
  config.fsize_bytes = reader.Number("fileSizeBytes");
  config.nofile = static_cast<uint32_t>(reader.Number("openFiles"));
  config.processes = static_cast<uint32_t>(reader.Number("processes"));
  config.output_bytes = reader.Number("outputBytes");
  std::pair<const uint8_t*, size_t> input = reader.Bytes("stdin");
  if (!reader.Ok()) return {};
  auto argv_pointers = Pointers(argv), env_pointers = Pointers(env);
  config.argv = argv_pointers.data();
  config.argc = argv_pointers.size();
  config.env = env_pointers.data();
  config.envc = env_pointers.size();
  config.stdin_data = input.first;
  config.stdin_bytes = input.second;
  auto* reply = new RanReply(this, done);
  uint64_t run = 0;
  if (engine_)
    run = osb_exec(engine_, sandbox, &config, RanReply::Take, reply);
  else
    reply->Send(&kClosed);
  return Napi::Number::New(info.Env(), static_cast<double>(run));
}

Napi::Value Engine::Kill(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  uint64_t sandbox = arguments.Number(0, "sandbox");
  uint64_t run = arguments.Number(1, "run");
  std::string cause = arguments.Text(2, "cause");
  if (!arguments.Ok()) return {};
  bool cancelled = cause == "cancelled";
  if (!cancelled && cause != "session_ended") {
    Throw(info.Env(), "cause must be 'cancelled' or 'session_ended'");
    return {};
  }
  if (engine_) osb_kill(engine_, sandbox, run, cancelled ? OSB_CAUSE_CANCELLED : OSB_CAUSE_SESSION_ENDED);
  return info.Env().Undefined();
}

Napi::Value Engine::DestroySandbox(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  uint64_t sandbox = arguments.Number(0, "sandbox");
  Napi::Function done = arguments.Callback(1);
  if (!arguments.Ok()) return {};
  auto* reply = new DoneReply(this, done);
  if (engine_)
    osb_sandbox_destroy(engine_, sandbox, DoneReply::Take, reply);
  else
    reply->Send(nullptr);  // closing has destroyed it
  return info.Env().Undefined();
}

Napi::Value Engine::Close(const Napi::CallbackInfo& info) {
  Arguments arguments(info);
  Napi::Function done = arguments.Callback(0);
  if (!arguments.Ok()) return {};
  if (engine_ && !closing_) {
    closing_ = true;
    osb_engine_close(engine_, ClosedReply::Take, new ClosedReply(this, done));
  } else if (engine_) {
    osb_engine_close(engine_, DoneReply::Take, new DoneReply(this, done));
  } else {
    (new DoneReply(this, done))->Send(nullptr);
  }
  return info.Env().Undefined();
}
