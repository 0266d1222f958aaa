package tokenizer

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"crayon/internal/gguf"
	"crayon/internal/testmodel"
)

type vector struct {
	Text string  `json:"text"`
	IDs  []int32 `json:"ids"`
}

func vectors(t testing.TB, name string) []vector {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".tokens.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []vector
	scan := bufio.NewScanner(z)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var v vector
		if err := json.Unmarshal(scan.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func load(t testing.TB, path string) *Tokenizer {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tok, err := FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func smol(t testing.TB) *Tokenizer { return load(t, testmodel.Path(t)) }

func qwen(t testing.TB) *Tokenizer {
	path := os.Getenv("CRAYON_TEST_QWEN")
	if path == "" {
		t.Skip("needs a Qwen2.5 GGUF: set CRAYON_TEST_QWEN to its path")
	}
	return load(t, path)
}

func checkVectors(t *testing.T, tok *Tokenizer, name string) {
	vs := vectors(t, name)
	if len(vs) != 996 {
		t.Fatalf("%d vectors, want 996", len(vs))
	}
	for _, v := range vs {
		for range 2 { // the second time out of the cache
			if got := tok.EncodeTemplate(v.Text, nil); !slices.Equal(got, v.IDs) {
				t.Errorf("%q\n got %v\nwant %v", v.Text, got, v.IDs)
			}
		}
		if got := tok.Decode(v.IDs); got != v.Text {
			t.Errorf("decoded %q, want %q", got, v.Text)
		}
	}
}

func TestVectorsSmolLM2(t *testing.T) { checkVectors(t, smol(t), "smollm2") }

func TestVectorsQwen25(t *testing.T) { checkVectors(t, qwen(t), "qwen25") }

func TestSmolLM2Facts(t *testing.T) {
	tok := smol(t)
	if tok.Size() != 49152 || tok.EOS() != 2 || tok.AddBOS() {
		t.Fatalf("size %d, eos %d, adds bos %v", tok.Size(), tok.EOS(), tok.AddBOS())
	}
	if got := tok.EndOfTurn(); !slices.Equal(got, []int32{2, 0}) {
		t.Fatalf("ends of turn %v", got)
	}
	if id, ok := tok.ID("<|im_start|>"); !ok || id != 1 || !tok.IsSpecial(1) || tok.IsSpecial(100) {
		t.Fatalf("<|im_start|> is %d, %v", id, ok)
	}
	if lacks := tok.Lacks(); len(lacks) != 21 || lacks[0] != 4 {
		t.Fatalf("lacks %x", lacks)
	}
}

// TestSpeed holds the throughput that training and serving count on: a million
// tokens a second on prose. The bar in the test is a fifth of it, for busy machines.
func TestSpeed(t *testing.T) {
	tok := smol(t)
	vs := vectors(t, "smollm2")
	n, start := 0, time.Now()
	for time.Since(start) < 200*time.Millisecond {
		for _, v := range vs {
			n += len(tok.Encode(v.Text))
		}
	}
	if rate := float64(n) / time.Since(start).Seconds(); rate < 2e5 {
		t.Errorf("%.0f tokens/s", rate)
	}
}

func BenchmarkEncode(b *testing.B) {
	tok := smol(b)
	vs := vectors(b, "smollm2")
	n, size := 0, 0
	for b.Loop() {
		for _, v := range vs {
			n += len(tok.Encode(v.Text))
			size += len(v.Text)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "tok/s")
	b.ReportMetric(float64(size)/b.Elapsed().Seconds()/1e6, "MB/s")
}

// BenchmarkEncodeCold is the same without the word cache.
func BenchmarkEncodeCold(b *testing.B) {
	tok := smol(b)
	vs := vectors(b, "smollm2")
	n := 0
	var buf []int32
	for b.Loop() {
		for _, v := range vs {
			tok.split(v.Text, func(w string) {
				buf = tok.merge(buf[:0], w)
				n += len(buf)
			})
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "tok/s")
}

// BenchmarkFromGGUF is part of every command's start.
func BenchmarkFromGGUF(b *testing.B) {
	f, err := gguf.Open(testmodel.Path(b))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		if _, err := FromGGUF(f); err != nil {
			b.Fatal(err)
		}
	}
}
