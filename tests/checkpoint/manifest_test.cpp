// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "hydrofoil/io/hash.h"
#include "tests/io/scratch.h"

namespace hydrofoil::checkpoint::manifest_test {
namespace {

using io::error_line;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Manifest sample() {
  Manifest manifest;
  manifest.step = 100;
  manifest.code_version = "0.1.0";
  manifest.created_by = "a test";
  FileRecord file{328, 64, io::hash_of(std::string_view("header")), "model.safetensors", {}};
  file.tensors["w\"\n"] = {DType::kF32, {3, 17}, 64, 204, io::hash_of(std::string_view("w"))};
  manifest.files["model.safetensors"] = file;
  manifest.texts["config.json"] = {2, io::hash_of(std::string_view("{}"))};
  return manifest;
}

// The text after a change, with a digest that fits again: what a forger or a bug would write.
std::string rewritten(const std::function<void(json&)>& change) {
  json document = json::parse(manifest_text(sample()));
  document.erase("xxh3_128");
  change(document);
  document["xxh3_128"] = io::hash_of(document.dump());
  return document.dump();
}

TEST(Manifest, ComesBackAsItWas) {
  const Manifest manifest = parse_manifest(manifest_text(sample()), "m");
  EXPECT_EQ(manifest_text(manifest), manifest_text(sample()));
  const TensorRecord& tensor = manifest.files.at("model.safetensors").tensors.at("w\"\n");
  EXPECT_EQ(tensor.bytes, 204u);
  EXPECT_EQ(tensor.dtype, DType::kF32);
  EXPECT_EQ(manifest.tensor_count(), 1u);
  EXPECT_EQ(manifest.files.at("model.safetensors").part_of, "model.safetensors");
  const auto whole = rewritten([](json& d) { d["files"]["model.safetensors"].erase("part_of"); });
  EXPECT_EQ(parse_manifest(whole, "m").files.at("model.safetensors").part_of, "");
  EXPECT_EQ(manifest.bytes(), 330u);
  EXPECT_EQ(rewritten([](json&) {}), json::parse(manifest_text(sample())).dump());
}

TEST(Manifest, EveryFlippedBitIsSeenUnlessItIsWhiteSpace) {
  const std::string good = manifest_text(sample());
  for (size_t i = 0; i < good.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      if (error_line([&] { parse_manifest(bad, "m"); }).empty()) {
        EXPECT_TRUE(std::isspace(good[i]) && std::isspace(bad[i]))
            << "byte " << i << " bit " << bit;
      }
    }
}

TEST(Manifest, RefusesANewerFormatByName) {
  EXPECT_THAT(error_line([] { parse_manifest(rewritten([](json& d) { d["format"] = 2; }), "m"); }),
              StartsWith("m: made by a newer Hydrofoil (format 2; this one reads up to 1)"));
}

TEST(Manifest, RefusesWhatAFittingDigestWouldHide) {
  const auto tensor = [](json& d) -> json& {
    return d["files"]["model.safetensors"]["tensors"]["w\"\n"];
  };
  const std::function<void(json&)> changes[] = {
      [&](json& d) { tensor(d)["offset"] = 200; },
      [&](json& d) { tensor(d)["offset"] = 18446744073709551615u; },
      [&](json& d) { tensor(d)["shape"] = {4294967296, 4294967296}; },
      [&](json& d) { tensor(d)["shape"] = "x"; },
      [&](json& d) { tensor(d)["dtype"] = "Q3"; },
      [&](json& d) { tensor(d).erase("xxh3_128"); },
      [](json& d) { d["files"]["model.safetensors"]["header"]["bytes"] = 1000; },
      [](json& d) { d["files"]["../x"] = d["files"]["model.safetensors"]; },
      [](json& d) { d["texts"]["/etc/passwd"] = d["texts"]["config.json"]; },
      [](json& d) { d["texts"] = 3; },
      [](json& d) { d.erase("step"); },
      [](json& d) { d = json::array(); },
  };
  for (const auto& change : changes) {
    std::string text;
    try {
      text = rewritten(change);
    } catch (const json::exception&) {
      text = "[]";  // a list has no digest
    }
    EXPECT_THAT(error_line([&] { parse_manifest(text, "m"); }),
                AllOf(StartsWith("m: not a sound manifest"), HasSubstr("use another checkpoint")))
        << text;
  }
  EXPECT_NE(error_line([] { parse_manifest("", "m"); }), "");
}

}  // namespace
}  // namespace hydrofoil::checkpoint::manifest_test
