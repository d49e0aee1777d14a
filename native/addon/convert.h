// Between JavaScript values and the engine's structures. A Reader reads one object; the first property of a wrong type
// is kept as a TypeError naming it, and all later reads do nothing.
#ifndef OSB_ADDON_CONVERT_H
#define OSB_ADDON_CONVERT_H

#include <napi.h>

#include <string>
#include <utility>
#include <vector>

extern "C" {
#include "../engine/engine.h"
}

class Reader {
 public:
  explicit Reader(Napi::Object object) : object_(object) {}
  // Of the properties listed in the order in which they are going to be read; names are for messages only.
  explicit Reader(Napi::Array listed) : object_(listed), listed_(true) {}

  std::string Text(const char* name);
  uint64_t Number(const char* name);
  bool Flag(const char* name);
  std::vector<std::string> Texts(const char* name);
  std::vector<std::pair<std::string, std::string>> Pairs(const char* name);
  // Points into JavaScript's memory: valid until control goes back there.
  std::pair<const uint8_t*, size_t> Bytes(const char* name);

  // False, with a pending exception, if something was wrong.
  bool Ok();

 private:
  Napi::Value Get(const char* name);
  void Fail(const char* name, const char* expected);

  Napi::Object object_;
  bool listed_ = false;
  uint32_t next_ = 0;
  std::string problem_;
};

// A string as bytes for C; false if it is none or has a NUL, which C would take for its end.
bool ToText(Napi::Value value, std::string* text);
bool ToBytes(Napi::Value value, std::pair<const uint8_t*, size_t>* bytes);
bool ToNumber(Napi::Value value, uint64_t* number);
bool Throw(Napi::Env env, const char* problem);  // a TypeError; always false

// Error with `code` (the errno's name) and `errno`.
Napi::Value ToError(Napi::Env env, const osb_error& error);
std::string ErrnoName(int number);
// Takes `bytes`, from malloc, over.
Napi::Value ToBuffer(Napi::Env env, uint8_t* bytes, size_t count);
Napi::Object ToObject(Napi::Env env, const osb_host_report& report);

#endif
