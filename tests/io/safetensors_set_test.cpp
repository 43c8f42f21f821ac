// SPDX-License-Identifier: Apache-2.0
#include "hydrofoil/io/safetensors_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/io/scratch.h"

namespace hydrofoil::io::safetensors_set_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

void put_tensor(const fs::path& path, const std::string& name, char value) {
  const SafetensorsPlan plan = plan_safetensors({{name, DType::kI8, {3}}});
  put(path, plan.header + std::string(3, value));
}

void put_index(const fs::path& folder, const std::string& map) {
  put(folder / "model.safetensors.index.json", R"({"metadata":{},"weight_map":)" + map + "}");
}

std::string open_error(const fs::path& path) {
  return error_line([&] { SafetensorsSet set(path); });
}

TEST(SafetensorsSet, JoinsTheShardsOfAnIndex) {
  const Scratch scratch;
  put_tensor(scratch / "one.safetensors", "a", 'x');
  put_tensor(scratch / "two.safetensors", "b", 'y');
  put_index(scratch.path(), R"({"a":"one.safetensors","b":"two.safetensors"})");

  const SafetensorsSet set(scratch.path());

  EXPECT_EQ(set.tensors().size(), 2u);
  const auto& b = set.at("b");
  EXPECT_EQ(std::to_integer<char>(b.file->mapped(*b.tensor)[2]), 'y');
  EXPECT_EQ(set.find("c"), nullptr);
  EXPECT_THAT(error_line([&] { set.at("c"); }), HasSubstr("has no tensor 'c'"));
}

TEST(SafetensorsSet, OpensASingleFileAndAFolderWithOne) {
  const Scratch scratch;
  put_tensor(scratch / "model.safetensors", "a", 'x');
  EXPECT_EQ(SafetensorsSet(scratch.path()).tensors().size(), 1u);
  EXPECT_EQ(SafetensorsSet(scratch / "model.safetensors").tensors().size(), 1u);
}

TEST(SafetensorsSet, SaysWhatIsMissing) {
  const Scratch scratch;
  EXPECT_THAT(open_error(scratch.path()), HasSubstr("holds neither model.safetensors"));
  put_index(scratch.path(), R"({"a":"one.safetensors"})");
  EXPECT_THAT(open_error(scratch.path()), HasSubstr("\"one.safetensors\", which does not exist"));
  put_tensor(scratch / "one.safetensors", "b", 'x');
  EXPECT_THAT(open_error(scratch.path()), HasSubstr("one.safetensors: has no tensor 'a'"));
  put_index(scratch.path(), "[]");
  EXPECT_THAT(open_error(scratch.path()), HasSubstr("has no weight_map"));
  put_index(scratch.path(), R"({"a":7})");
  EXPECT_THAT(open_error(scratch.path()), HasSubstr("tensor 'a' has no file name"));
}

TEST(SafetensorsSet, NamesMustNotLeaveTheFolder) {
  const Scratch scratch;
  fs::create_directories(scratch / "model" / "sub");
  put_tensor(scratch / "secret.safetensors", "a", 'x');
  put_tensor(scratch / "model" / "sub" / "in.safetensors", "a", 'x');
  fs::create_symlink(scratch / "secret.safetensors", scratch / "model" / "link.safetensors");
  const std::string absolute = (scratch / "secret.safetensors").string();
  for (const std::string& name :
       {std::string("../secret.safetensors"), absolute, std::string("sub/in.safetensors"),
        std::string("sub/../../secret.safetensors"), std::string(".."), std::string(""),
        std::string("..\\\\secret.safetensors"), std::string("a\\u0000b")}) {
    put_index(scratch / "model", R"({"a":")" + name + "\"}");
    EXPECT_THAT(open_error(scratch / "model"), HasSubstr("not a plain file name")) << name;
  }
  put_index(scratch / "model", R"({"a":"link.safetensors"})");
  EXPECT_THAT(open_error(scratch / "model"), HasSubstr("a link that leads out of the folder"));
}

TEST(SafetensorsSet, FollowsTheLinksOfAHubCache) {
  const Scratch scratch;
  fs::create_directories(scratch / "blobs");
  fs::create_directories(scratch / "snapshots" / "rev");
  put_tensor(scratch / "blobs" / "0abc", "a", 'x');
  fs::create_symlink("../../blobs/0abc", scratch / "snapshots" / "rev" / "one.safetensors");
  put_index(scratch / "snapshots" / "rev", R"({"a":"one.safetensors"})");
  EXPECT_EQ(SafetensorsSet(scratch / "snapshots" / "rev").tensors().size(), 1u);
}

}  // namespace
}  // namespace hydrofoil::io::safetensors_set_test
