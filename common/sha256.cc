#include "common/sha256.h"

#include <openssl/evp.h>

#include <bit>

#include "absl/strings/escaping.h"
#include "common/check.h"

namespace tessera {
namespace {

static_assert(std::endian::native == std::endian::little, "float32 bytes are little-endian");

constexpr size_t kDigestBytes = 32;

}  // namespace

struct Sha256::Context {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> openssl{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  TESSERA_CHECK(context_->openssl != nullptr &&
                EVP_DigestInit_ex(context_->openssl.get(), EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() = default;

void Sha256::Add(absl::Span<const uint8_t> bytes) {
  TESSERA_CHECK(EVP_DigestUpdate(context_->openssl.get(), bytes.data(), bytes.size()) == 1);
}

void Sha256::Add(absl::Span<const float> values) {
  Add({reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)});
}

std::string Sha256::Digest() {
  std::string digest(kDigestBytes, '\0');
  TESSERA_CHECK(EVP_DigestFinal_ex(context_->openssl.get(), reinterpret_cast<unsigned char*>(digest.data()),
                                   nullptr) == 1);
  return digest;
}

std::string Sha256::HexDigest() { return absl::BytesToHexString(Digest()); }

}  // namespace tessera
