// NativeAddon of src/sandbox/binding.ts. No global state: every environment has its own engines.
#include <napi.h>

#include "convert.h"
#include "engine.h"

static Napi::Value InspectHost(const Napi::CallbackInfo& info) {
  osb_host_report report;
  osb_host_inspect(&report);
  return ToObject(info.Env(), report);
}

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("Engine", Engine::Define(env));
  exports.Set("inspectHost", Napi::Function::New(env, InspectHost, "inspectHost"));
  return exports;
}

NODE_API_MODULE(opensandbox, Init)
