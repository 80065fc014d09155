// SPDX-License-Identifier: Apache-2.0
// A JSON value that knows its place in the file, for the message when it is not what was expected.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "qwq/core/error.hpp"
#include "qwq/io/json.hpp"

namespace qwq::detail {

/// Refers to `value`, which must outlive it. `where` starts the messages: "tokenizer.json: model.vocab".
class json_place {
 public:
  json_place(const json& value, std::string where) : value_(&value), where_(std::move(where)) {}
  /// The root of a file.
  static json_place root(const json& value, std::string_view source) { return {value, std::string(source) + ": "}; }

  const json& operator*() const { return *value_; }
  const json* operator->() const { return value_; }
  const std::string& where() const { return where_; }

  /// A member of an object; null when it is absent.
  json_place operator[](std::string_view key) const {
    static const json absent;
    const auto at = object().find(key);
    return {at == value_->end() ? absent : *at, where_ + (where_.ends_with(": ") ? "" : ".") + printable(key)};
  }
  json_place operator[](std::size_t i) const { return {list()[i], where_ + '[' + std::to_string(i) + ']'}; }

  const json& object() const { return value_->is_object() ? *value_ : refuse("an object"); }
  const json& list() const { return value_->is_array() ? *value_ : refuse("a list"); }
  const std::string& string() const {
    return (value_->is_string() ? *value_ : refuse("a string")).get_ref<const std::string&>();
  }
  bool flag(bool absent) const {
    if (value_->is_null()) return absent;
    return (value_->is_boolean() ? *value_ : refuse("true or false")).get<bool>();
  }

  /// Refuses anything but the one value that is supported.
  void must_be(std::string_view supported) const {
    if (string() != supported) refuse(quote(supported));
  }
  void must_be(bool supported, bool absent) const {
    if (flag(absent) != supported) refuse(supported ? "true" : "false");
  }

  [[noreturn]] const json& refuse(const std::string& expected) const {
    throw error(where_ + ": expected " + expected + ", found " + describe(*value_));
  }

 private:
  const json* value_;
  std::string where_;
};

}  // namespace qwq::detail
