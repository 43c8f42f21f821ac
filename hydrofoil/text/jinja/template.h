// SPDX-License-Identifier: Apache-2.0
// Templates in the part of Jinja that chat templates use.
//
//   const jinja::Template hello("{% for m in messages %}{{ m.role | upper }}{% endfor %}");
//   hello.render({{"messages", {{{"role", "user"}}}}});
//
// As transformers runs them: trim_blocks, lstrip_blocks, a sandbox without changes to what comes
// in, tags break, continue and generation, functions raise_exception and strftime_now. A template
// cannot run for ever, nest without end or write more than 16 MiB.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace hydrofoil::text::jinja {

class Template {
 public:
  // Error(kData) with the line of what is wrong or not known.
  explicit Template(std::string_view source);
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  // variables: an object. Error(kData) for what the template refuses (raise_exception) or cannot
  // do, with its line.
  std::string render(const nlohmann::ordered_json& variables) const;

 private:
  struct Body;
  std::unique_ptr<const Body> body_;
};

}  // namespace hydrofoil::text::jinja
