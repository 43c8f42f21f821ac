// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

namespace hydrofoil::checkpoint::layout_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<std::byte> kBytes(4096);

// One rank's snapshot of a single F32 tensor [10].
Snapshot owning(std::vector<std::pair<size_t, size_t>> ranges, std::vector<int64_t> shape = {10},
                DType dtype = DType::kF32) {
  TensorState tensor{"w", std::move(shape), dtype, {}};
  for (const auto& [begin, end] : ranges)
    tensor.mine.push_back({begin, std::span(kBytes).first((end - begin) * size_of(dtype))});
  return {7, {{"model.safetensors", {tensor}}}, {}};
}

std::string plan_error(const std::vector<Snapshot>& ranks) {
  try {
    std::vector<std::string> layouts;
    for (const Snapshot& snapshot : ranks) layouts.push_back(layout_text(snapshot));
    plan_save(layouts);
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return "";
}

TEST(PlanSave, OrdersTheRunsOfAllRanks) {
  const std::vector<std::string> layouts = {layout_text(owning({{4, 7}, {0, 1}, {3, 3}})),
                                            layout_text(owning({{1, 4}, {7, 10}}))};
  const SavePlan plan = plan_save(layouts);
  ASSERT_EQ(plan.files.size(), 1u);
  const PlannedTensor& tensor = plan.files[0].tensors.at(0);
  const auto runs = tensor.runs();
  ASSERT_EQ(runs.size(), 4u);
  const size_t begins[] = {0, 1, 4, 7};
  const int ranks[] = {0, 1, 0, 1};
  const size_t indices[] = {1, 0, 0, 1};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(runs[i].begin, begins[i]);
    EXPECT_EQ(tensor.pieces[runs[i].piece].rank, ranks[i]);
    EXPECT_EQ(tensor.pieces[runs[i].piece].index, indices[i]);
  }
  EXPECT_EQ(plan.step, 7);
  EXPECT_EQ(plan.bytes(), plan.files[0].header.size() + 40);
}

// Rank 0 has column 0 and, as rank 1 does, column 1; rank 1 also columns 2 to 4.
TEST(PlanSave, JoinsBoxesAndCountsReplicasOnce) {
  Snapshot left = owning({{0, 8}}, {4, 5}), right = owning({{0, 9}, {9, 16}}, {4, 5});
  const std::vector<int64_t> whole{4, 5};
  left.files[0].tensors[0].mine[0].box = {.whole = whole, .dim = 1, .slices = {{0, 1}, {1, 1}}};
  for (auto& fragment : right.files[0].tensors[0].mine)
    fragment.box = {.whole = whole, .dim = 1, .slices = {{1, 1, true}, {2, 3}}};
  const std::vector<std::string> layouts = {layout_text(left), layout_text(right)};
  const SavePlan plan = plan_save(layouts);
  const PlannedTensor& tensor = plan.files[0].tensors.at(0);
  uint64_t next = 0;
  for (const auto& [begin, end, piece] : tensor.runs()) {
    EXPECT_EQ(begin, next);
    for (uint64_t i = begin; i < end; ++i)
      EXPECT_EQ(tensor.pieces[piece].rank, i % 5 < 2 ? 0 : 1) << i;
    next = end;
  }
  EXPECT_EQ(next, 20u);
  right.files[0].tensors[0].mine[0].box.slices[0].replica = false;
  EXPECT_THAT(plan_error({left, right}),
              HasSubstr("elements [1, 2) of 20 are owned by rank 0 and by rank 1"));
}

// Tensors of 40, 4, 4, 100, 0 and 8 bytes; in another file, one of 40.
SavePlan split_at(uint64_t max_file_bytes) {
  Snapshot all{3, {{"model.safetensors", {}}, {"other.safetensors", {}}}, {}};
  all.files[1].tensors = owning({{0, 10}}).files[0].tensors;
  const int64_t sizes[] = {10, 1, 1, 25, 0, 2};
  for (size_t i = 0; i < std::size(sizes); ++i) {
    Snapshot one = owning({{0, static_cast<size_t>(sizes[i])}}, {sizes[i]});
    one.files[0].tensors[0].name = "t" + std::to_string(i);
    all.files[0].tensors.push_back(one.files[0].tensors[0]);
  }
  return plan_save(std::vector<std::string>{layout_text(all)}, max_file_bytes);
}

std::vector<size_t> tensors_of_files(const SavePlan& plan) {
  std::vector<size_t> counts;
  for (const PlannedFile& file : plan.files) counts.push_back(file.tensors.size());
  return counts;
}

TEST(PlanSave, SplitsAFileIntoWholeTensorsUpToTheLimit) {
  EXPECT_THAT(tensors_of_files(split_at(156)), ElementsAre(6, 1));
  EXPECT_THAT(tensors_of_files(split_at(155)), ElementsAre(5, 1, 1));
  EXPECT_THAT(tensors_of_files(split_at(48)), ElementsAre(3, 1, 2, 1));
  EXPECT_THAT(tensors_of_files(split_at(47)), ElementsAre(2, 1, 1, 2, 1));
  EXPECT_THAT(tensors_of_files(split_at(0)), ElementsAre(1, 1, 1, 1, 1, 1, 1));
}

TEST(PlanSave, PartsHaveHuggingFacesNamesAndIndex) {
  EXPECT_EQ(split_at(156).files[0].name, "model.safetensors");
  EXPECT_EQ(split_at(156).files[0].part_of, "");
  EXPECT_TRUE(split_at(156).indexes.empty());
  const SavePlan plan = split_at(48);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(plan.files[i].name, "model-0000" + std::to_string(i + 1) + "-of-00003.safetensors");
    EXPECT_EQ(plan.files[i].part_of, "model.safetensors");
  }
  EXPECT_EQ(plan.files[3].name, "other.safetensors");
  ASSERT_EQ(plan.indexes.size(), 1u);
  const auto index = nlohmann::json::parse(plan.indexes.at("model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 156);
  ASSERT_EQ(index["weight_map"].size(), 6u);
  EXPECT_EQ(index["weight_map"]["t2"], plan.files[0].name);
  EXPECT_EQ(index["weight_map"]["t3"], plan.files[1].name);
  EXPECT_EQ(index["weight_map"]["t5"], plan.files[2].name);
}

TEST(PlanSave, NamesTheTensorOfGapsAndDoubleOwners) {
  EXPECT_EQ(plan_error({owning({{0, 4}}), owning({{4, 10}})}), "");
  EXPECT_EQ(
      plan_error({owning({{0, 4}}), owning({{6, 10}})}),
      "checkpoint tensor 'w' of model.safetensors: elements [4, 6) of 10 are owned by no rank");
  EXPECT_THAT(plan_error({owning({{0, 4}}), owning({{4, 9}})}),
              HasSubstr("elements [9, 10) of 10 are owned by no rank"));
  EXPECT_THAT(plan_error({owning({{1, 10}}), owning({})}),
              HasSubstr("elements [0, 1) of 10 are owned by no rank"));
  EXPECT_THAT(plan_error({owning({{0, 6}}), owning({{4, 10}})}),
              HasSubstr("elements [4, 6) of 10 are owned by rank 0 and by rank 1"));
  EXPECT_THAT(plan_error({owning({{0, 10}}), owning({{2, 3}})}),
              HasSubstr("elements [2, 3) of 10 are owned by rank 0 and by rank 1"));
  EXPECT_THAT(plan_error({owning({{0, 5}}), owning({{5, 11}})}),
              HasSubstr("elements [5, 11) of 10 of rank 1 do not exist"));
}

TEST(PlanSave, RefusesRanksThatDisagree) {
  EXPECT_THAT(plan_error({owning({{0, 5}}), owning({{5, 10}}, {10}, DType::kBF16)}),
              HasSubstr("'w' of model.safetensors: rank 1 says BF16 [10], another F32 [10]"));
  EXPECT_THAT(plan_error({owning({{0, 5}}), owning({{5, 10}}, {2, 5})}),
              HasSubstr("rank 1 says F32 [2, 5], another F32 [10]"));
  Snapshot later = owning({{5, 10}});
  later.step = 8;
  EXPECT_THAT(plan_error({owning({{0, 5}}), later}),
              HasSubstr("rank 0 saves step 7, rank 1 step 8"));
}

TEST(PlanSave, JoinsTensorsThatOnlySomeRanksKnow) {
  Snapshot other = owning({{0, 10}});
  other.files[0].tensors[0].name = "v";
  const std::vector<std::string> layouts = {layout_text(owning({{0, 10}})), layout_text(other)};
  EXPECT_EQ(plan_save(layouts).files.at(0).tensors.size(), 2u);
}

TEST(LayoutText, RefusesHalfElementsAndNamesThatLeadElsewhere) {
  Snapshot half = owning({{0, 10}});
  half.files[0].tensors[0].mine[0].bytes = std::span(kBytes).first(39);
  EXPECT_THAT(plan_error({half}), HasSubstr("'w' of model.safetensors: a fragment of 39 bytes"));
  for (const char* name : {"../w", "a/b", "", ".", "..", "manifest.json", "a\nb"}) {
    Snapshot bad = owning({{0, 10}});
    bad.files[0].name = name;
    EXPECT_THAT(plan_error({bad}), HasSubstr("cannot be the name of a file")) << name;
    bad = owning({{0, 10}});
    bad.texts[name] = "x";
    EXPECT_THAT(plan_error({bad}), HasSubstr("cannot be the name of a file")) << name;
  }
  Snapshot twice = owning({{0, 10}});
  twice.texts["model.safetensors"] = "x";
  EXPECT_THAT(plan_error({twice}), HasSubstr("is both a file and a text"));
}

TEST(ShareOf, GivesEveryItemToOneRankAndBalances) {
  std::vector<uint64_t> items;
  for (uint64_t i = 0; i < 97; ++i) items.push_back(i * 131 % 1009 * 4);
  items.push_back(0);
  uint64_t total = 0;
  for (const uint64_t bytes : items) total += bytes;
  for (int size = 1; size <= 5; ++size) {
    std::multiset<size_t> all;
    for (int rank = 0; rank < size; ++rank) {
      uint64_t mine = 0;
      for (const size_t i : share_of(items, rank, size)) {
        all.insert(i);
        mine += items[i];
      }
      // Off by at most one item at either end.
      EXPECT_NEAR(static_cast<double>(mine), static_cast<double>(total) / size, 2.0 * 1009 * 4);
    }
    EXPECT_EQ(all.size(), items.size());
    EXPECT_EQ(std::set<size_t>(all.begin(), all.end()).size(), items.size());
  }
  const std::vector<uint64_t> empty(3, 0);
  EXPECT_EQ(
      share_of(empty, 0, 3).size() + share_of(empty, 1, 3).size() + share_of(empty, 2, 3).size(),
      3u);
  EXPECT_TRUE(share_of({}, 0, 2).empty());
}

}  // namespace
}  // namespace hydrofoil::checkpoint::layout_test
