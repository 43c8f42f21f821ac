// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/train/agreement.h"

#include <exception>

namespace hydrofoil::train {

void on_first_rank(const comm::Communicator& group, const std::string& what,
                   const std::function<void()>& work) {
  std::exception_ptr failure;
  auto code = static_cast<int64_t>(ExitCode::kOk);
  if (group.rank() == 0) {
    try {
      work();
    } catch (const Error& error) {
      failure = std::current_exception();
      code = static_cast<int64_t>(error.code());
    } catch (...) {
      failure = std::current_exception();
      code = static_cast<int64_t>(ExitCode::kError);
    }
  }
  code = maximum(group, code);
  if (failure) std::rethrow_exception(failure);
  if (code != 0) throw EchoedError(static_cast<ExitCode>(code), "rank 0 failed: " + what);
}

int64_t maximum(const comm::Communicator& group, int64_t value) {
  group.all_reduce({&value, 1, DType::kI64}, comm::Reduce::kMax,
                   {comm::Purpose::kControl, "agreement"});
  return value;
}

double slowest(const comm::Communicator& group, double seconds) {
  group.all_reduce({&seconds, 1, DType::kF64}, comm::Reduce::kMax,
                   {comm::Purpose::kControl, "agreement"});
  return seconds;
}

}  // namespace hydrofoil::train
