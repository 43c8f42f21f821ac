// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/mesh/mesh.h"

#include <utility>

#include "hydrofoil/core/error.h"

namespace hydrofoil::mesh {
namespace {

[[noreturn]] void refuse(const std::string& message, const std::string& hint) {
  throw Error(ExitCode::kConfig, message, "mesh", hint);
}

// "pp 2 x sp 1 x tp 3"
std::string product_text(const Sizes& sizes, bool with_dp) {
  std::string text = "pp " + std::to_string(sizes.pp);
  if (with_dp) text += " x dp " + std::to_string(sizes.dp);
  return text + " x sp " + std::to_string(sizes.sp) + " x tp " + std::to_string(sizes.tp);
}

std::string multiples_around(int model, int ranks) {
  const int below = ranks / model * model;
  const std::string above = std::to_string(below + model);
  return below > 0 ? std::to_string(below) + " or " + above : above;
}

// With dp filled in.
Sizes complete(const Sizes& asked, int ranks) {
  const std::pair<std::string, int> given[] = {
      {"pp", asked.pp}, {"sp", asked.sp}, {"tp", asked.tp}, {"ep", asked.ep}};
  for (const auto& [name, size] : given)
    if (size < 1) refuse(name + " is " + std::to_string(size), "use 1 or more");
  const int model = asked.pp * asked.sp * asked.tp;
  if (ranks % model != 0)
    refuse(product_text(asked, false) + " = " + std::to_string(model) + " does not divide the " +
               std::to_string(ranks) + " ranks of the run",
           "start " + multiples_around(model, ranks) + " ranks, or change an axis");
  Sizes sizes = asked;
  sizes.dp = ranks / model;
  if (asked.dp != 0 && asked.dp != sizes.dp)
    refuse(product_text(asked, true) + " = " + std::to_string(asked.dp * model) +
               " ranks, the run has " + std::to_string(ranks),
           "leave dp out: it would be " + std::to_string(sizes.dp));
  if (sizes.dp % sizes.ep != 0)
    refuse("ep " + std::to_string(sizes.ep) + " does not divide dp, which is " +
               std::to_string(sizes.dp),
           "experts are spread over data-parallel ranks: use a divisor of " +
               std::to_string(sizes.dp));
  return sizes;
}

}  // namespace

Mesh::Mesh(const Sizes& sizes, int ranks) : sizes_(complete(sizes, ranks)) {
  const Digit same_experts{kExpertData, sizes_.dp / sizes_.ep}, other_experts{kEp, sizes_.ep};
  const bool same_inside = sizes_.data_before_expert;
  digits_ = {Digit{kPp, sizes_.pp}, same_inside ? other_experts : same_experts,
             same_inside ? same_experts : other_experts, Digit{kSp, sizes_.sp},
             Digit{kTp, sizes_.tp}};
  int stride = 1;
  for (auto digit = digits_.rbegin(); digit != digits_.rend(); ++digit) {
    digit->stride = stride;
    stride *= digit->size;
  }
}

int Mesh::extent(Axes axes) const {
  int extent = 1;
  for (const Digit& digit : digits_)
    if (axes & digit.axis) extent *= digit.size;
  return extent;
}

int Mesh::coordinate(int rank, Axes axes) const {
  int coordinate = 0;
  for (const Digit& digit : digits_)
    if (axes & digit.axis) coordinate = coordinate * digit.size + rank / digit.stride % digit.size;
  return coordinate;
}

std::vector<int> Mesh::group(int rank, Axes axes) const {
  std::vector<int> group = {rank};
  for (const Digit& digit : digits_) {
    if (!(axes & digit.axis)) continue;
    std::vector<int> wider;
    for (const int member : group)
      for (int i = 0; i < digit.size; ++i)
        wider.push_back(member + (i - rank / digit.stride % digit.size) * digit.stride);
    group = std::move(wider);
  }
  return group;
}

int Mesh::group_index(int rank, Axes axes) const {
  return coordinate(rank, ~axes);
}

std::vector<std::vector<int>> Mesh::groups(Axes axes) const {
  std::vector<std::vector<int>> groups;
  for (int rank = 0; rank < ranks(); ++rank)
    if (coordinate(rank, axes) == 0) groups.push_back(group(rank, axes));
  return groups;
}

std::string Mesh::name(int rank, Axes axes) const {
  constexpr std::pair<Axes, const char*> kNames[] = {
      {kPp, "pp"}, {kDp, "dp"}, {kExpertData, "expert-dp"}, {kEp, "ep"}, {kSp, "sp"}, {kTp, "tp"}};
  std::string text;
  for (const auto& [along, name] : kNames) {
    if ((axes & along) != along) continue;
    axes &= ~along;
    if (extent(along) > 1)
      text += (text.empty() ? "" : ", ") + std::string(name) + " " +
              std::to_string(coordinate(rank, along));
  }
  return text;
}

}  // namespace hydrofoil::mesh
