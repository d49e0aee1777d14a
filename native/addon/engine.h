// class Engine of src/sandbox/binding.ts.
#ifndef OSB_ADDON_ENGINE_H
#define OSB_ADDON_ENGINE_H

#include <napi.h>

#include <cerrno>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>

#include "mailbox.h"

extern "C" {
#include "../engine/engine.h"
}

// What calls on a closed engine fail with.
inline constexpr osb_error kClosed = {ESHUTDOWN, "the engine is closed"};

class Engine : public Napi::ObjectWrap<Engine> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Engine(const Napi::CallbackInfo& info);
  ~Engine() override;

  Mailbox& mailbox() { return *mailbox_; }
  // Makes the object of an outcome from its properties in order: an object literal is several times as fast as setting
  // them one by one from here.
  Napi::Value MakeOutcome(std::initializer_list<napi_value> properties);
  // A call was made, or its callback is about to be called. Between the two the object and the process stay.
  void Begin();
  void End();
  void CloseDone();
  void TellLost(uint64_t sandbox, const std::string& reason);

 private:
  Napi::Value CreateSandbox(const Napi::CallbackInfo& info);
  Napi::Value Exec(const Napi::CallbackInfo& info);
  Napi::Value Kill(const Napi::CallbackInfo& info);
  Napi::Value WriteFile(const Napi::CallbackInfo& info);
  Napi::Value ReadFile(const Napi::CallbackInfo& info);
  Napi::Value ListDirectory(const Napi::CallbackInfo& info);
  Napi::Value CheckDirectory(const Napi::CallbackInfo& info);
  Napi::Value DestroySandbox(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  // Blocks until everything is gone: for an environment that ends, or an object that nobody has any more.
  void ShutDown();

  osb_engine* engine_ = nullptr;
  bool closing_ = false;
  uint32_t under_way_ = 0;
  std::unique_ptr<Mailbox> mailbox_;
  Napi::FunctionReference on_lost_, make_outcome_;
  Napi::FunctionReference list_exec_;  // the properties of an exec's config, in the order in which Exec reads them
  std::function<void()> shut_down_;  // the cleanup hook: its address names it
};

#endif
