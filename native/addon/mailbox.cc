#include "mailbox.h"

Mailbox::Mailbox(Napi::Env env) : env_(env) {
  napi_value name = Napi::String::New(env, "opensandbox");
  // A queue of 1 would do: a wake-up is only sent when none is on its way. 0 = without bound, so it never blocks.
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, OnWake, &wake_);
  napi_unref_threadsafe_function(env, wake_);
}

Mailbox::~Mailbox() { Close(); }

void Mailbox::Post(std::unique_ptr<Letter> letter) {
  bool wake;
  {
    std::lock_guard<std::mutex> guard(lock_);
    letters_.push_back(std::move(letter));
    wake = !woken_;
    woken_ = true;
  }
  if (wake) napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

void Mailbox::Await(bool awaited) {
  if (!wake_) return;
  if (awaited)
    napi_ref_threadsafe_function(env_, wake_);
  else
    napi_unref_threadsafe_function(env_, wake_);
}

void Mailbox::Close() {
  if (!wake_) return;
  napi_release_threadsafe_function(wake_, napi_tsfn_abort);
  wake_ = nullptr;
  letters_.clear();
}

void Mailbox::OnWake(napi_env env, napi_value, void* mailbox, void*) {
  // Without env the function is being torn down; the letters are destroyed by Close.
  if (env) static_cast<Mailbox*>(mailbox)->OpenAll(env);
}

void Mailbox::OpenAll(Napi::Env env) {
  std::vector<std::unique_ptr<Letter>> letters;
  {
    std::lock_guard<std::mutex> guard(lock_);
    letters.swap(letters_);
    woken_ = false;
  }
  for (auto& letter : letters) {
    Napi::HandleScope scope(env);
    letter->Open(env);
    if (!env.IsExceptionPending()) continue;
    // One caller's exception is not the next one's: it goes where an exception of a timer would go.
    napi_fatal_exception(env, env.GetAndClearPendingException().Value());
  }
}
