// SPDX-License-Identifier: Apache-2.0
// hydrofoil checkpoint show, verify
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace hydrofoil::cli {

void add_checkpoint_command(CLI::App& app, std::function<int()>& action);

}  // namespace hydrofoil::cli
