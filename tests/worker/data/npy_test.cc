#include "worker/data/npy.h"

#include <zlib.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/temporary_folder.h"
#include "tests/worker/data/npy_writer.h"
#include "tests/worker/data/sample_values.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class NpyTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.File(name); }

  std::string Write(const std::string& name, const std::string& bytes) const {
    std::filesystem::remove(Path(name));
    std::ofstream(Path(name), std::ios::binary | std::ios::trunc) << bytes;
    return Path(name);
  }

  std::string WriteGz(const std::string& name, const std::string& bytes) const {
    const gzFile file = gzopen(Path(name).c_str(), "wb");
    EXPECT_EQ(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())),
              static_cast<int>(bytes.size()));
    EXPECT_EQ(gzclose(file), Z_OK);
    return Path(name);
  }

  TemporaryFolder folder_;
};

// --- One file.

class NpyFile : public NpyTest {
 protected:
  std::string Refusal(const std::string& bytes, absl::StatusCode code) const {
    const absl::Status status = ReadNpyFile(Write("a.npy", bytes)).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), StartsWith(absl::StrCat(Path("a.npy"), ": ")));
    return std::string(status.message());
  }
};

TEST_F(NpyFile, ReadsEveryTypeOfElement) {
  const auto read = [&](const std::string& bytes) {
    absl::StatusOr<NpyArray> array = ReadNpyFile(Write("a.npy", bytes));
    EXPECT_TRUE(array.ok()) << array.status();
    EXPECT_THAT(array->shape, ElementsAre(2));
    return array->values;
  };
  using Bytes = std::vector<uint8_t>;
  using Floats = std::vector<float>;
  using Wholes = std::vector<int64_t>;
  EXPECT_EQ(std::get<Bytes>(read(Npy<uint8_t>("|u1", {2}, {0, 255}))), (Bytes{0, 255}));
  EXPECT_EQ(std::get<Floats>(read(Npy<float>("<f4", {2}, {-1.5F, 1e30F}))), (Floats{-1.5F, 1e30F}));
  EXPECT_EQ(std::get<Floats>(read(Npy<double>("<f8", {2}, {0.1, -2}))), (Floats{0.1F, -2}));
  EXPECT_EQ(std::get<Wholes>(read(Npy<int32_t>("<i4", {2}, {-7, 1 << 30}))), (Wholes{-7, 1 << 30}));
  EXPECT_EQ(std::get<Wholes>(read(Npy<int64_t>("<i8", {2}, {-7, int64_t{1} << 50}))),
            (Wholes{-7, int64_t{1} << 50}));
}

TEST_F(NpyFile, ReadsShapesOfAnyRankPlainAndCompressed) {
  const std::string bytes = Npy<uint8_t>("|u1", {1, 2, 1, 3}, {1, 2, 3, 4, 5, 6});
  for (const std::string& path : {Write("a.npy", bytes), WriteGz("a.npy.gz", bytes)}) {
    const absl::StatusOr<NpyArray> array = ReadNpyFile(path);
    ASSERT_TRUE(array.ok()) << array.status();
    EXPECT_THAT(array->shape, ElementsAre(1, 2, 1, 3));
    EXPECT_THAT(std::get<std::vector<uint8_t>>(array->values), ElementsAre(1, 2, 3, 4, 5, 6));
  }
}

TEST_F(NpyFile, FortranOrderBecomesRowMajor) {
  // 0 .. 23 as [2,3,4], the first index fastest: numpy.arange(24).reshape(2, 3, 4) saved by
  // numpy.asfortranarray.
  std::vector<int32_t> stored;
  for (int k = 0; k < 4; ++k) {
    for (int j = 0; j < 3; ++j) {
      for (int i = 0; i < 2; ++i) stored.push_back(12 * i + 4 * j + k);
    }
  }
  const std::string bytes = NpyWithHeader(NpyHeader("<i4", {2, 3, 4}, "True"), ElementBytes(stored));
  const absl::StatusOr<NpyArray> array = ReadNpyFile(Write("a.npy", bytes));
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_THAT(array->shape, ElementsAre(2, 3, 4));
  std::vector<int64_t> counting(24);
  for (size_t i = 0; i < counting.size(); ++i) counting[i] = static_cast<int64_t>(i);
  EXPECT_EQ(std::get<std::vector<int64_t>>(array->values), counting);
}

TEST_F(NpyFile, ReadsHeadersOfOtherWriters) {
  for (const char* header : {"{\"shape\":(2,),\"descr\":\"|u1\",\"fortran_order\":False}",
                             "{'descr': '|u1', 'fortran_order': True, 'shape': (2,)}",
                             "  { 'fortran_order' : False , 'shape' : ( 2 , ) , 'descr' : '|u1' , }  "}) {
    const absl::StatusOr<NpyArray> array = ReadNpyFile(Write("a.npy", NpyWithHeader(header, "ab")));
    ASSERT_TRUE(array.ok()) << array.status();
    EXPECT_THAT(std::get<std::vector<uint8_t>>(array->values), ElementsAre('a', 'b'));
  }
  // Version 2.0 has a longer length.
  const std::string header = NpyHeader("|u1", {2});
  const std::string file =
      absl::StrCat(std::string("\x93NUMPY\x02\x00", 8), std::string(1, static_cast<char>(header.size())),
                   std::string(3, '\0'), header, "ab");
  EXPECT_TRUE(ReadNpyFile(Write("a.npy", file)).ok());
}

TEST_F(NpyFile, MissingFilesAreNotFound) {
  EXPECT_EQ(ReadNpyFile(Path("none.npy")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadNpyFile(folder_.path()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(NpyFile, EveryTruncationSaysSo) {
  const std::string whole = Npy<float>("<f4", {2, 2}, {1, 2, 3, 4});
  for (size_t length = 0; length < whole.size(); ++length) {
    const std::string error = Refusal(whole.substr(0, length), absl::StatusCode::kDataLoss);
    EXPECT_THAT(error, HasSubstr("truncated: ")) << length;
  }
  EXPECT_THAT(Refusal(whole.substr(0, whole.size() - 1), absl::StatusCode::kDataLoss),
              EndsWith(absl::StrCat("truncated: ", whole.size() - 1, " of ", whole.size(), " bytes")));
  EXPECT_THAT(
      Refusal(whole + "x", absl::StatusCode::kDataLoss),
      EndsWith(absl::StrCat("trailing bytes after the ", whole.size(), " that its shape [2,2] gives")));
}

TEST_F(NpyFile, EveryTruncationOfTheCompressedFileIsAnError) {
  std::string path = WriteGz("a.npy.gz", Npy<float>("<f4", {2, 2}, {1, 2, 3, 4}));
  std::ifstream file(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  for (size_t length = 0; length < whole.size(); ++length) {
    const absl::Status status = ReadNpyFile(Write("a.npy.gz", whole.substr(0, length))).status();
    EXPECT_FALSE(status.ok()) << length;
    EXPECT_THAT(std::string(status.message()), HasSubstr("a.npy.gz")) << length;
  }
}

TEST_F(NpyFile, ForeignFilesSayWhatWasFound) {
  EXPECT_THAT(Refusal("PK\x03\x04 a .npz is a zip", absl::StatusCode::kInvalidArgument),
              HasSubstr("not a NumPy array file: it starts with `PK"));
  EXPECT_THAT(Refusal(std::string("\x93NUMPY\x04\x00v\x00{}", 12), absl::StatusCode::kInvalidArgument),
              HasSubstr("version 4, not 1 to 3"));
}

TEST_F(NpyFile, OtherArraysAreRefusedByName) {
  const auto refusal = [&](const std::string& header) {
    return Refusal(NpyWithHeader(header, "12345678"), absl::StatusCode::kInvalidArgument);
  };
  EXPECT_THAT(refusal(NpyHeader(">f4", {2})), HasSubstr("elements of type `>f4`"));
  EXPECT_THAT(refusal(NpyHeader("<c8", {1})), HasSubstr("`<c8`"));
  EXPECT_THAT(refusal(NpyHeader("|O", {1})), HasSubstr("`|O`"));
  EXPECT_THAT(refusal("{'descr': '|u1', 'fortran_order': False, 'shape': (), }"),
              HasSubstr("a single number"));
}

TEST_F(NpyFile, DamagedHeadersAreRefused) {
  for (const char* header :
       {"", "{}", "{", "descr", "{'descr': '|u1'}", "{'descr': '|u1', 'fortran_order': False, 'shape': (2}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-2,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)} junk",
        "{'descr': '|u1', 'fortran_order': Maybe, 'shape': (2,)}",
        "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), 'more': 1}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr: '|u1', 'fortran_order': False, 'shape': (2,)"}) {
    EXPECT_THAT(Refusal(NpyWithHeader(header, "ab"), absl::StatusCode::kDataLoss),
                HasSubstr("its header cannot be read"))
        << header;
  }
  std::string many = "{'descr': '|u1', 'fortran_order': False, 'shape': (";
  for (int i = 0; i < 100; ++i) many += "1,";
  EXPECT_THAT(Refusal(NpyWithHeader(many + ")}", "a"), absl::StatusCode::kDataLoss),
              HasSubstr("cannot be read"));
}

TEST_F(NpyFile, AbsurdSizesAreRefusedBeforeAllocating) {
  const auto refusal = [&](const std::vector<int64_t>& shape) {
    return Refusal(NpyWithHeader(NpyHeader("<f8", shape), "few"), absl::StatusCode::kDataLoss);
  };
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(refusal({kMax, kMax, kMax}), HasSubstr("absurd dimensions [9223372036854775807,"));
  EXPECT_THAT(refusal({int64_t{1} << 41}), HasSubstr("absurd dimensions"));
  EXPECT_THAT(refusal({1 << 20, 1 << 20}), HasSubstr("truncated: "));  // 8 TiB that are not there
  EXPECT_THAT(refusal({3, 0}), HasSubstr("an empty dimension in [3,0]"));
  EXPECT_THAT(Refusal(std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff{", 13), absl::StatusCode::kDataLoss),
              HasSubstr("an absurd header of 4294967295 bytes"));
}

// --- A data set.

class NpyDatasetTest : public NpyTest {
 protected:
  NpyDatasetTest() {
    Write("rows.npy", Npy<float>("<f4", {4, 2}, {0, 1, 10, 11, 20, 21, 30, 31}));
    Write("patches.npy", Npy<uint8_t>("|u1", {4, 3, 1, 2}, Counting(24)));
    Write("labels.npy", Npy<int64_t>("<i8", {4}, {2, 0, 1, 2}));
    options_.Set("inputs",
                 {std::vector<std::string>{"spectrum=" + Path("rows.npy"), "height=" + Path("patches.npy")},
                  "job.yaml:5:7"});
    options_.Set("labels", {Path("labels.npy"), "job.yaml:6:7"});
  }

  static std::vector<uint8_t> Counting(size_t count) {
    std::vector<uint8_t> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = static_cast<uint8_t>(i);
    return values;
  }

  void SetInputs(std::vector<std::string> inputs) {
    options_.Set("inputs", {std::move(inputs), "job.yaml:5:7"});
  }

  absl::StatusOr<std::unique_ptr<Dataset>> Open() const {
    return DatasetRegistry::Create("data format", "npy", options_);
  }

  std::string Refusal(absl::StatusCode code = absl::StatusCode::kInvalidArgument) const {
    const absl::Status status = Open().status();
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  }

  // A data set of `count` samples, whose one number is its place.
  void WriteMany(int64_t count) {
    std::vector<float> rows(static_cast<size_t>(count));
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i);
    Write("many.npy", Npy<float>("<f4", {count, 1}, rows));
    Write("labels.npy", Npy<int64_t>("<i8", {count}, std::vector<int64_t>(rows.size(), 1)));
    SetInputs({"row=" + Path("many.npy")});
  }

  std::unique_ptr<Dataset> OpenSplit(const std::string& split, const std::string& part = "0.8",
                                     const std::string& seed = "1") {
    Options options = options_;
    for (const auto& [key, value] : {std::pair{"split", split}, {"part", part}, {"split_seed", seed}}) {
      options.Set(key, {value, ""});
    }
    auto dataset = NpyDataset::Create(options);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return *std::move(dataset);
  }

  static std::vector<float> Places(const Dataset& dataset) {
    std::vector<float> places;
    for (uint32_t i = 0; i < dataset.size(); ++i) places.push_back(Numbers(dataset, i)[0]);
    return places;
  }

  Options options_;
};

TEST_F(NpyDatasetTest, HasSeveralInputsInTheOrderTheyAreNamed) {
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 4U);
  EXPECT_EQ((*dataset)->classes(), 3);
  EXPECT_EQ((*dataset)->inputs(), (std::vector<nn::InputSpec>{{"spectrum", {2}}, {"height", {3, 1, 2}}}));
  EXPECT_EQ((*dataset)->Label(3), 2);
  EXPECT_THAT(Numbers(**dataset, 2, 0), ElementsAre(20, 21));
  EXPECT_THAT(Pixels(**dataset, 1, 1), ElementsAre(6, 7, 8, 9, 10, 11));
}

TEST_F(NpyDatasetTest, ImagesWithoutAChannelHaveOne) {
  Write("grey.npy", Npy<uint8_t>("|u1", {4, 2, 3}, Counting(24)));
  SetInputs({"image=" + Path("grey.npy")});
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->inputs(), (std::vector<nn::InputSpec>{{"image", {1, 2, 3}}}));
}

TEST_F(NpyDatasetTest, CountsMustAgree) {
  Write("labels.npy", Npy<int32_t>("<i4", {3}, {2, 0, 1}));
  EXPECT_THAT(Refusal(absl::StatusCode::kDataLoss),
              AllOf(HasSubstr("rows.npy has 4 samples"), HasSubstr("3 labels")));
}

TEST_F(NpyDatasetTest, LabelsAreWholeNumbersFromZero) {
  const auto refusal = [&](const std::string& bytes) {
    Write("labels.npy", bytes);
    return Refusal();
  };
  EXPECT_THAT(refusal(Npy<int32_t>("<i4", {4}, {0, 1, -1, 0})),
              AllOf(StartsWith("job.yaml:6:7: "), HasSubstr("labels.npy: label -1 of sample 2")));
  EXPECT_THAT(refusal(Npy<int64_t>("<i8", {4}, {0, int64_t{1} << 40, 0, 0})),
              HasSubstr("label 1099511627776"));
  EXPECT_THAT(refusal(Npy<float>("<f4", {4}, {0, 1, 2, 0})), HasSubstr("labels are int32, int64 or uint8"));
  EXPECT_THAT(refusal(Npy<int32_t>("<i4", {4, 1}, {0, 1, 2, 0})), HasSubstr("labels are [N]"));
  Write("labels.npy", Npy<uint8_t>("|u1", {4}, {0, 1, 255, 0}));
  EXPECT_EQ((*Open())->classes(), 256);
}

TEST_F(NpyDatasetTest, NumbersThatAreNotFiniteAreRefused) {
  Write("rows.npy", Npy<float>("<f4", {4, 2}, {0, 1, 10, NAN, 20, 21, 30, 31}));
  EXPECT_THAT(Refusal(), AllOf(StartsWith("job.yaml:5:7: "), HasSubstr("rows.npy: element 3 is not finite")));
  Write("rows.npy", Npy<double>("<f8", {4, 2}, {0, 1, 10, 1e300, 20, 21, 30, 31}));
  EXPECT_THAT(Refusal(), HasSubstr("element 3 is not finite in float32"));
}

TEST_F(NpyDatasetTest, OptionsAreChecked) {
  SetInputs({Path("rows.npy")});
  EXPECT_THAT(Refusal(), AllOf(StartsWith("job.yaml:5:7: "), HasSubstr("an input is NAME=FILE")));
  SetInputs({"=x"});
  EXPECT_THAT(Refusal(), HasSubstr("an input is NAME=FILE"));
  SetInputs({"a=" + Path("none.npy")});
  EXPECT_THAT(Refusal(absl::StatusCode::kNotFound),
              AllOf(StartsWith("job.yaml:5:7: "), HasSubstr("none.npy")));
  SetInputs({"a=" + Path("labels.npy")});
  EXPECT_THAT(Refusal(), HasSubstr("an array [4], not [N,F]"));
  SetInputs({});
  EXPECT_THAT(Refusal(), HasSubstr("missing `inputs`"));
  EXPECT_THAT(std::string(NpyDataset::Create(Options({{"labels", "x"}})).status().message()),
              HasSubstr("missing `inputs`"));
  options_.Set("colour", {std::string("red"), "job.yaml:7:7"});
  SetInputs({"a=" + Path("rows.npy")});
  EXPECT_THAT(Refusal(), StartsWith("job.yaml:7:7: unknown option `colour`"));
}

TEST_F(NpyDatasetTest, ASplitPutsEverySampleIntoExactlyOnePart) {
  WriteMany(101);
  const auto train = OpenSplit("train"), test = OpenSplit("test");
  EXPECT_EQ(train->size(), 80U);  // 0.8 x 101, rounded down
  EXPECT_EQ(test->size(), 21U);
  std::set<float> all;
  for (const Dataset* part : {train.get(), test.get()}) {
    for (const float place : Places(*part)) EXPECT_TRUE(all.insert(place).second) << place << " is in both";
  }
  EXPECT_EQ(all.size(), 101U);
}

TEST_F(NpyDatasetTest, ASplitIsAFunctionOfItsSeedAndMixesTheFile) {
  WriteMany(100);
  const std::vector<float> first = Places(*OpenSplit("test"));
  EXPECT_EQ(Places(*OpenSplit("test")), first);
  EXPECT_NE(Places(*OpenSplit("test", "0.8", "2")), first);
  const auto from_the_start =
      std::count_if(first.begin(), first.end(), [](float place) { return place < 50; });
  EXPECT_GT(from_the_start, 2);
  EXPECT_LT(from_the_start, 18);
}

TEST_F(NpyDatasetTest, ASplitKeepsLabelsWithTheirSamplesAndTheClassesOfTheWholeFile) {
  WriteMany(10);
  std::vector<int64_t> labels(10);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i);
  Write("labels.npy", Npy<int64_t>("<i8", {10}, labels));
  for (const char* name : {"train", "test"}) {
    const auto part = OpenSplit(name, "0.5");
    EXPECT_EQ(part->classes(), 10);
    for (uint32_t i = 0; i < part->size(); ++i) {
      EXPECT_EQ(Numbers(*part, i)[0], static_cast<float>(part->Label(i)));
    }
  }
}

TEST_F(NpyDatasetTest, SplitsThatMayOverlapDoNotStandBesideEachOther) {
  WriteMany(100);
  const auto train = OpenSplit("train");
  EXPECT_TRUE(OpenSplit("test")->CheckBeside(*train).ok());
  const auto expect_refused = [&](const Dataset& test) {
    EXPECT_THAT(std::string(test.CheckBeside(*train).message()),
                HasSubstr("the same `part` and `split_seed`"));
  };
  expect_refused(*OpenSplit("test", "0.7"));
  expect_refused(*OpenSplit("test", "0.8", "2"));
  expect_refused(*OpenSplit("train"));
  expect_refused(**Open());  // the whole files
  // Other files may be cut as they like.
  std::filesystem::copy_file(Path("labels.npy"), Path("other.npy"));
  options_.Set("labels", {Path("other.npy"), ""});
  EXPECT_TRUE(OpenSplit("test", "0.3")->CheckBeside(*train).ok());
}

TEST_F(NpyDatasetTest, SplitOptionsAreChecked) {
  const auto refusal = [&](std::vector<std::pair<std::string, std::string>> more) {
    Options options = options_;
    for (auto& [key, value] : more) options.Set(key, {value, "job.yaml:9:9"});
    return std::string(NpyDataset::Create(options).status().message());
  };
  EXPECT_THAT(refusal({{"split", "half"}}), HasSubstr("`split` must be train or test"));
  EXPECT_THAT(refusal({{"part", "0.5"}}), HasSubstr("there is no `split`"));
  EXPECT_THAT(refusal({{"split_seed", "5"}}), HasSubstr("there is no `split`"));
  EXPECT_THAT(refusal({{"split", "train"}, {"part", "1"}}), HasSubstr("`part` must be a number"));
  EXPECT_THAT(refusal({{"split", "train"}, {"part", "0.1"}}), HasSubstr("has no sample of the 4"));
}

}  // namespace
}  // namespace tessera
