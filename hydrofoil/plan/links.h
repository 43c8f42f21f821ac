// SPDX-License-Identifier: Apache-2.0
// What ranks exchange in a step, over which links, and how long that takes. Pure numbers.
#pragma once

#include <cstdint>
#include <vector>

#include "hydrofoil/mesh/mesh.h"
#include "hydrofoil/plan/model.h"
#include "hydrofoil/plan/rates.h"

namespace hydrofoil::plan {

// Bytes that a rank receives in a step: from ranks of its host, and of other hosts.
struct LinkBytes {
  double inside = 0, between = 0;
  double all() const { return inside + between; }
};

// How a group of n ranks on h hosts brings each rank what it gets of its n - 1 peers.
enum class Route : uint8_t {
  kRing,    // sums, gathers: a byte comes to a host once, and goes round inside: (h - 1) / (n - 1)
            // of a rank's bytes come from another host
  kDirect,  // every peer's own part by itself (all-to-all): n / h times as much does
  kRead,    // the same, one-sided
};

enum class When : uint8_t { kPasses, kBeforeUpdate, kAfterUpdate };

struct Exchange {
  mesh::Axes axes = 0;  // of the group
  Route route = Route::kRing;
  When when = When::kPasses;
  double bytes = 0;    // that a rank receives in a step, as the meter counts them
  double calls = 0;    // in a step
  double forward = 0;  // the share of both in forward passes
};

// All of one stage, but for messages between stages. Loops and gathers as plan_wire has them.
std::vector<Exchange> exchanges_of(const Model& stage, const RunShape& run);

// A run's ranks on their hosts: neighbours together, in the order of the mesh.
class Links {
 public:
  Links(const RunShape& run, const Machine& machine);

  LinkBytes bytes(const Exchange& exchange) const;
  double seconds(const Exchange& exchange) const;
  // Of one message between two stages.
  double message_seconds(int from, int to, double bytes) const;
  // Whether some rank's message between two stages goes to another host.
  bool crosses(int from, int to) const;

 private:
  struct Spread {
    int ranks = 1, hosts = 1;
  };
  Spread spread(mesh::Axes axes) const;
  const Spread& spread_of(const Exchange& exchange) const;
  double between(double bytes) const;

  const Machine machine_;
  const mesh::Mesh mesh_;
  const int ranks_per_host_;
  Spread tensor_, sequence_, zero_, ends_;  // of the groups with most hosts
};

// What a rank of the stage receives in a step, messages included.
LinkBytes link_bytes(const Model& stage, const RunShape& run, const Links& links);

}  // namespace hydrofoil::plan
