// SPDX-License-Identifier: Apache-2.0
// Stands in for a header of Gloo: ../../gloo_transport.cpp says why.
#pragma once
#include <chrono>
namespace gloo {
class Context {  // only ever held by shared_ptr on our side
 public:
  void setTimeout(std::chrono::milliseconds);
};
}  // namespace gloo
