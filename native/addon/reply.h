// Replies: the callbacks of the calls under way. A reply is the engine's `context`; the engine's thread fills it and
// posts it, the JavaScript thread calls the callback with what is in it.
#ifndef OSB_ADDON_REPLY_H
#define OSB_ADDON_REPLY_H

#include <string>
#include <vector>

#include "convert.h"
#include "engine.h"

class Reply : public Letter {
 public:
  Reply(Engine* engine, Napi::Function callback) : engine_(engine), callback_(Napi::Persistent(callback)) {
    engine_->Begin();
  }

  // On the engine's thread; `this` is the mailbox's afterwards.
  void Send(const osb_error* error) {
    if (error) error_ = *error;
    engine_->mailbox().Post(std::unique_ptr<Letter>(this));
  }

  void Open(Napi::Env env) override {
    Opened(engine_);
    engine_->End();
    if (error_.code) {
      callback_.Call({ToError(env, error_), env.Undefined()});
      return;
    }
    Napi::Value value = ToValue(env);
    if (!env.IsExceptionPending()) callback_.Call({env.Null(), value});
  }

 protected:
  virtual Napi::Value ToValue(Napi::Env env) { return env.Undefined(); }
  virtual void Opened(Engine*) {}

  Engine* engine() { return engine_; }

 private:
  Engine* engine_;
  Napi::FunctionReference callback_;
  osb_error error_{};  // code 0 = none
};

class DoneReply : public Reply {
 public:
  using Reply::Reply;
  static void Take(void* self, const osb_error* error) { static_cast<DoneReply*>(self)->Send(error); }
};

class ClosedReply : public DoneReply {
 public:
  using DoneReply::DoneReply;

 protected:
  void Opened(Engine* engine) override { engine->CloseDone(); }
};

class CreatedReply : public Reply {
 public:
  using Reply::Reply;
  static void Take(void* context, const osb_error* error, uint64_t sandbox) {
    auto* self = static_cast<CreatedReply*>(context);
    self->sandbox_ = sandbox;
    self->Send(error);
  }

 protected:
  Napi::Value ToValue(Napi::Env env) override { return Napi::Number::New(env, static_cast<double>(sandbox_)); }

 private:
  uint64_t sandbox_ = 0;
};

class RanReply : public Reply {
 public:
  using Reply::Reply;
  ~RanReply() override;
  static void Take(void* context, const osb_error* error, osb_outcome* outcome);

 protected:
  Napi::Value ToValue(Napi::Env env) override;

 private:
  osb_outcome outcome_{};
  std::string text_;
};

class ReadReply : public Reply {
 public:
  using Reply::Reply;
  ~ReadReply() override;
  static void Take(void* context, const osb_error* error, uint8_t* bytes, size_t count);

 protected:
  Napi::Value ToValue(Napi::Env env) override;

 private:
  uint8_t* bytes_ = nullptr;
  size_t count_ = 0;
};

class ListedReply : public Reply {
 public:
  using Reply::Reply;
  static void Take(void* context, const osb_error* error, const osb_entry* entries, size_t count);

 protected:
  Napi::Value ToValue(Napi::Env env) override;

 private:
  struct Entry {
    std::string name;
    bool is_directory;
    uint64_t size;
  };
  std::vector<Entry> entries_;
};

#endif
