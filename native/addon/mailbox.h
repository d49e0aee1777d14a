// Brings what the engine's threads report to the JavaScript thread: one wake-up and one entry into JavaScript for all
// that has gathered meanwhile.
#ifndef OSB_ADDON_MAILBOX_H
#define OSB_ADDON_MAILBOX_H

#include <napi.h>

#include <memory>
#include <mutex>
#include <vector>

// Something to tell JavaScript. Made and destroyed on the JavaScript thread or before it was posted.
class Letter {
 public:
  virtual ~Letter() = default;
  // On the JavaScript thread, with a handle scope. May throw into JavaScript.
  virtual void Open(Napi::Env env) = 0;
};

class Mailbox {
 public:
  explicit Mailbox(Napi::Env env);
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // From any thread.
  void Post(std::unique_ptr<Letter> letter);
  // On the JavaScript thread: whether letters are awaited, for which the process must not exit.
  void Await(bool awaited);
  // On the JavaScript thread, when nobody posts any more.
  void Close();

 private:
  static void OnWake(napi_env env, napi_value callback, void* mailbox, void* data);
  void OpenAll(Napi::Env env);

  Napi::Env env_;
  napi_threadsafe_function wake_ = nullptr;
  std::mutex lock_;
  std::vector<std::unique_ptr<Letter>> letters_;  // under lock_
  bool woken_ = false;                            // under lock_: a wake-up is on its way
};

#endif
