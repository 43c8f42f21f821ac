// SPDX-License-Identifier: Apache-2.0
#include "cli/bench_products.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/product_type.h"
#include "hydrofoil/core/error.h"
#include "hydrofoil/core/host.h"
#include "hydrofoil/memory/tensor_pool.h"
#include "hydrofoil/monitor/format.h"
#include "hydrofoil/train/product_bench.h"

namespace hydrofoil::cli {
namespace {

using Json = nlohmann::ordered_json;
using train::ProductRole;

struct ProductArguments {
  std::vector<std::string> configs = {"S", "M", "G10"}, sizes;
  DType type = DType::kF32;
  std::vector<int> threads;
  int rounds = 15;
  bool json = false;
};

// One, and all cores.
std::vector<int> one_and_all_cores() {
  const int cores = host::usable_cores();
  return cores > 1 ? std::vector{1, cores} : std::vector{1};
}

// TOKENSxINxOUT
std::array<int64_t, 3> layer_size(const std::string& text) {
  constexpr int64_t kMost = 1 << 20;
  std::array<int64_t, 3> size{};
  const char* at = text.data();
  const char* const end = at + text.size();
  bool good = true;
  for (size_t i = 0; good && i < size.size(); ++i) {
    const auto [stop, error] = std::from_chars(at, end, size[i]);
    const bool last = i + 1 == size.size();
    good = error == std::errc() && size[i] > 0 && size[i] <= kMost &&
           (last ? stop == end : stop != end && *stop == 'x');
    at = last ? stop : stop + 1;
  }
  if (!good)
    throw Error(ExitCode::kUsage, "'" + text + "' is no size of a layer", "--size",
                "give TOKENSxINxOUT, such as 1024x512x2048");
  return size;
}

struct ProductGroup {
  std::string name;
  std::vector<train::Product> products;
};

std::vector<ProductGroup> groups_of(const ProductArguments& a) {
  std::vector<ProductGroup> groups;
  for (const auto& text : a.sizes) {
    const auto [tokens, in, out] = layer_size(text);
    groups.push_back({text, train::products_of(tokens, in, out, false)});
  }
  if (!a.sizes.empty()) return groups;
  for (const auto& name : a.configs)
    groups.push_back({name, train::products_of(train::bench_shape(name))});
  return groups;
}

// Both factors, for a moment in fp32 and bf16, and the result.
void require_memory(const std::vector<ProductGroup>& groups) {
  constexpr uint64_t kBytes = sizeof(float) + sizeof(uint16_t);
  uint64_t numbers = 0;
  for (const auto& group : groups)
    for (const auto& p : group.products) {
      const int64_t of_product = std::max(p.m, p.a_width) * p.k + p.n * p.k + p.m * p.n;
      numbers = std::max(numbers, static_cast<uint64_t>(of_product));
    }
  const auto usable = host::memory().usable_bytes();
  if (numbers * kBytes > usable)
    throw Error(ExitCode::kDoesNotFit,
                "the largest product needs " + monitor::human_bytes(numbers * kBytes) + ", and " +
                    monitor::human_bytes(usable) + " are usable",
                "--size", "give a smaller one");
}

// A candidate's column: "   MKL".
std::string padded(const std::string& text) {
  return std::string(text.size() < 10 ? 10 - text.size() : 1, ' ') + text;
}

void print_products_head(const ProductArguments& a, const std::vector<std::string>& candidates) {
  std::cout << "products in " << type_name(a.type) << " on " << host::cpu_model()
            << "; GFLOP/s = 1e9 a second, medians of " << a.rounds << "\n"
            << "of               product        m      k      n  threads";
  for (const auto& name : candidates) std::cout << padded(name);
  std::cout << "      peak  share  chosen" << std::endl;
}

void print_product(const std::string& group, const train::ProductCase& c) {
  const auto& p = c.product;
  std::printf("%-16s %-8s %7lld %6lld %6lld %8d", group.c_str(),
              std::string(train::name_of(p.role)).c_str(), static_cast<long long>(p.m),
              static_cast<long long>(p.k), static_cast<long long>(p.n), c.threads);
  for (const double rate : c.flops_per_second) std::printf("%10.1f", rate * 1e-9);
  std::printf("%10.1f %4.0f %%  %s", c.peak_flops_per_second * 1e-9, 100 * c.share_of_peak(),
              c.candidates[c.chosen].c_str());
  if (c.below_best() > 0) std::printf(", %.1f %% below the best", 100 * c.below_best());
  std::printf("\n");
  std::fflush(stdout);
}

void print_product_json(const std::string& group, const train::ProductCase& c) {
  Json rates = Json::object();
  for (size_t i = 0; i < c.candidates.size(); ++i) rates[c.candidates[i]] = c.flops_per_second[i];
  std::cout << Json{{"event", "case"},
                    {"of", group},
                    {"product", train::name_of(c.product.role)},
                    {"m", c.product.m},
                    {"k", c.product.k},
                    {"n", c.product.n},
                    {"threads", c.threads},
                    {"flops_per_second", rates},
                    {"peak_flops_per_second", c.peak_flops_per_second},
                    {"share_of_peak", c.share_of_peak()},
                    {"chosen", c.candidates[c.chosen]},
                    {"below_best", c.below_best()}}
            << std::endl;
}

// The lowest shares, and the worst choice.
void print_worst(const ProductArguments& a, const std::vector<train::ProductCase>& cases) {
  std::map<ProductRole, double> lowest;
  double below = 0;
  for (const auto& c : cases) {
    const auto [at, added] = lowest.emplace(c.product.role, c.share_of_peak());
    at->second = std::min(at->second, c.share_of_peak());
    below = std::max(below, c.below_best());
  }
  if (a.json) {
    Json shares = Json::object();
    for (const auto& [role, share] : lowest) shares[std::string(train::name_of(role))] = share;
    std::cout << Json{{"event", "end"},
                      {"cases", cases.size()},
                      {"lowest_share_of_peak", shares},
                      {"most_below_best", below}}
              << std::endl;
    return;
  }
  std::printf("lowest share of the peak:");
  for (const auto& [role, share] : lowest)
    std::printf(" %s %.0f %%", std::string(train::name_of(role)).c_str(), 100 * share);
  std::printf("; the chosen one at most %.1f %% below the best\n", 100 * below);
  std::fflush(stdout);
}

int bench_products(const ProductArguments& a) {
  const auto groups = groups_of(a);
  require_memory(groups);
  memory::pool_tensors();
  std::vector<train::ProductCase> cases;
  if (a.json)
    std::cout << Json{{"event", "start"},
                      {"type", type_name(a.type)},
                      {"cpu", host::cpu_model()},
                      {"rounds", a.rounds},
                      {"program", version_line()}}
              << std::endl;
  for (const int threads : a.threads)
    for (const auto& [name, products] : groups)
      for (const auto& product : products) {
        cases.push_back(train::time_product(product, a.type, threads, a.rounds));
        if (!a.json && cases.size() == 1) print_products_head(a, cases.front().candidates);
        a.json ? print_product_json(name, cases.back()) : print_product(name, cases.back());
      }
  print_worst(a, cases);
  return static_cast<int>(ExitCode::kOk);
}

}  // namespace

void add_bench_products(CLI::App& bench, Action& action) {
  auto* command = bench.add_subcommand("products", kBenchProductsHelp);
  auto a = std::make_shared<ProductArguments>();
  a->threads = one_and_all_cores();
  command->add_option("--config", a->configs, "S, M, G10, bert-base or llama-small; one or more")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--size", a->sizes, "of a layer, in place of --config: one or more")
      ->delimiter(',')
      ->type_name("TOKENSxINxOUT,..");
  add_product_type(command, a->type, "of the matrices");
  command->add_option("--threads", a->threads, "one or more numbers")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024).description(""))
      ->type_name("N,..")
      ->capture_default_str();
  command->add_option("--rounds", a->rounds, "runs of which the median is told")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--json", a->json, "one JSON object a line on standard output");
  command->footer(
      "A product is a [m, k] . b [n, k]^T: forward x . w^T, dX dy . w, dW dy^T . x, with matrices\n"
      "lying in memory as in training; the head's as the loss cuts them. Candidates take turns;\n"
      "the peak is of multiply-adds in registers, by all threads, in the same turns. Nothing that\n"
      "is measured here changes a choice: that is by processor and shape.\n"
      "Examples:\n"
      "  hydrofoil bench products --config S\n"
      "  hydrofoil bench products --type bf16 --threads 1 --json\n"
      "  hydrofoil bench products --size 1024x512x2048,16x512x512");
  command->callback([&action, a] { action = [a] { return bench_products(*a); }; });
}

}  // namespace hydrofoil::cli
