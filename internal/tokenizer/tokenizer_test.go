package tokenizer

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/fault"
	"crayon/internal/gguf"
)

// tiny is a vocabulary of all bytes, a few merges and three special tokens.
func tiny(t testing.TB, pre string) *Tokenizer {
	t.Helper()
	tok, err := New(tinyVocab(pre))
	require.NoError(t, err)
	return tok
}

func tinyVocab(pre string) Vocab {
	v := Vocab{Pre: pre, EOS: 1, BOS: 0}
	add := func(token string, kind int32) {
		v.Tokens, v.Types = append(v.Tokens, token), append(v.Types, kind)
	}
	add("<s>", 3)
	add("<|im_end|>", 3)
	add("<|im_end|>x", 4)
	for b := range 256 {
		add(string(runeOf[b]), 1)
	}
	for _, m := range []string{"a b", "ab a", "b a", "ab ab", "Ġ a", "' s", "Ġa b", "a a", "aa aa", "aaaa aaaa", "1 2"} {
		v.Merges = append(v.Merges, m)
		add(strings.ReplaceAll(m, " ", ""), 1)
	}
	return v
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Vocab){
		"pre":              func(v *Vocab) { v.Pre = "bert" },
		"empty":            func(v *Vocab) { v.Tokens, v.Types = nil, nil },
		"types":            func(v *Vocab) { v.Types = v.Types[1:] },
		"eos":              func(v *Vocab) { v.EOS = 1 << 20 },
		"bos":              func(v *Vocab) { v.BOS = -7 },
		"alphabet":         func(v *Vocab) { v.Tokens[10] = "日" },
		"empty token":      func(v *Vocab) { v.Tokens[10] = "" },
		"empty special":    func(v *Vocab) { v.Tokens[0] = "" },
		"twice":            func(v *Vocab) { v.Tokens[10] = v.Tokens[11] },
		"special twice":    func(v *Vocab) { v.Tokens[0] = v.Tokens[1] },
		"huge token":       func(v *Vocab) { v.Tokens[10] = strings.Repeat("a", maxToken+1) },
		"merge one":        func(v *Vocab) { v.Merges[0] = "ab" },
		"merge unknown":    func(v *Vocab) { v.Merges[0] = "q q" },
		"merge twice":      func(v *Vocab) { v.Merges[1] = v.Merges[0] },
		"merge of special": func(v *Vocab) { v.Merges[0] = "<s> a" },
	} {
		t.Run(name, func(t *testing.T) {
			v := tinyVocab("gpt-2")
			change(&v)
			_, err := New(v)
			require.Error(t, err)
			require.NotEmpty(t, fault.Hint(err))
		})
	}
}

func TestFromGGUFRefuses(t *testing.T) {
	v := tinyVocab("qwen2")
	build := func(change map[string]any) *gguf.File {
		b := gguf.NewBuilder()
		for key, value := range map[string]any{
			"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": v.Pre, "tokenizer.ggml.tokens": v.Tokens,
			"tokenizer.ggml.merges": v.Merges, "tokenizer.ggml.token_type": v.Types, "tokenizer.ggml.eos_token_id": uint32(1),
		} {
			if other, ok := change[key]; ok {
				value = other
			}
			if value != nil {
				b.Set(key, value)
			}
		}
		var out strings.Builder
		_, err := b.WriteTo(&out)
		require.NoError(t, err)
		f, err := gguf.Parse([]byte(out.String()))
		require.NoError(t, err)
		return f
	}
	tok, err := FromGGUF(build(nil))
	require.NoError(t, err)
	require.Equal(t, int32(1), tok.EOS())
	_, has := tok.BOS()
	require.False(t, has)
	for key, value := range map[string]any{
		"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "deepseek-llm", "tokenizer.ggml.tokens": nil,
		"tokenizer.ggml.merges": []string{"q q"}, "tokenizer.ggml.token_type": []int32{1}, "tokenizer.ggml.eos_token_id": uint32(1 << 30),
	} {
		_, err := FromGGUF(build(map[string]any{key: value}))
		require.Error(t, err, key)
		require.NotEmpty(t, fault.Hint(err), key)
	}
}

// TestSplit holds each scan against the published pattern, alternative by
// alternative in the order a backtracking engine tries them.
func TestSplit(t *testing.T) {
	const s = `[\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]`
	not := strings.Replace(strings.TrimSuffix(s, "]"), "[", "[^", 1)
	compile := func(alternatives ...string) []*regexp.Regexp {
		var out []*regexp.Regexp
		for _, a := range alternatives {
			out = append(out, regexp.MustCompile(`^(?:`+a+`)`))
		}
		return out
	}
	gpt2 := compile(`'s|'t|'re|'ve|'m|'ll|'d`, ` ?\p{L}+`, ` ?\p{N}+`, ` ?`+not+`\p{L}\p{N}]+`)
	digits := func(n string) []*regexp.Regexp {
		return compile(`(?i:'s|'t|'re|'ve|'m|'ll|'d)`, `[^\r\n\p{L}\p{N}]?\p{L}+`, n, ` ?`+not+`\p{L}\p{N}]+[\r\n]*`, s+`*[\r\n]+`)
	}
	blank := regexp.MustCompile(`^` + s + `+`)
	scan := func(alternatives []*regexp.Regexp) func(string) []string {
		return func(text string) []string {
			var out []string
		next:
			for text != "" {
				for _, re := range alternatives {
					if m := re.FindString(text); m != "" {
						out, text = append(out, m), text[len(m):]
						continue next
					}
				}
				m := blank.FindString(text)
				for end := len(m); end > 0; { // \s+(?!\S)
					if rest := text[end:]; rest == "" || blank.MatchString(rest) {
						m = m[:end]
						break
					}
					_, n := utf8.DecodeLastRuneInString(m[:end])
					end -= n
				}
				out, text = append(out, m), text[len(m):]
			}
			return out
		}
	}
	number := regexp.MustCompile(`\p{N}`)
	want := map[string]func(string) []string{
		"gpt-2": scan(gpt2), "qwen2": scan(digits(`\p{N}`)), "llama-bpe": scan(digits(`\p{N}{1,3}`)),
		"smollm": func(text string) []string {
			var out []string
			for text != "" {
				at := number.FindStringIndex(text)
				if at == nil {
					return append(out, scan(gpt2)(text)...)
				}
				out = append(append(out, scan(gpt2)(text[:at[0]])...), text[at[0]:at[1]])
				text = text[at[1]:]
			}
			return out
		},
	}
	piece := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"'s", "'S", "'ll", "'LL", "'re", "'", "''ve", " ", "  ", "\n", "\r\n", "\t", "\u00a0",
		"\u3000", "\u2028", "a", "Ab", "é", "ß", "ſ", "'ſ", "日本", "1", "12", "1234", "½", "٣", "!", "?!", "…", "😀", "\u0301", "\x00", "\u200b"}))
	rapid.Check(t, func(t *rapid.T) {
		text := strings.ToValidUTF8(strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), ""), "")
		for name, oracle := range want {
			var got []string
			rules[name].split(text, func(w string) { got = append(got, w) })
			if diff := cmp.Diff(oracle(text), got); diff != "" {
				t.Fatalf("%s of %q:\n%s", name, text, diff)
			}
		}
	})
}

// TestMerge holds the fast merges against the textbook loop.
func TestMerge(t *testing.T) {
	tok := tiny(t, "gpt-2")
	slow := func(word string) []int32 {
		var ids []int32
		for i := range len(word) {
			ids = append(ids, tok.base[word[i]])
		}
		for {
			best, at, made := uint32(noRank), -1, int32(0)
			for i := 0; i+1 < len(ids); i++ {
				if r, id := tok.merges.find(ids[i], ids[i+1]); r < best {
					best, at, made = r, i, id
				}
			}
			if at < 0 {
				return ids
			}
			ids = slices.Replace(ids, at, at+2, made)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(rapid.SampledFrom([]rune("aab 'sc")), 1, 200, -1).Draw(t, "word")
		if got, want := tok.merge(nil, word), slow(word); !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", word, got, want)
		}
	})
}

func TestWholeWord(t *testing.T) {
	v := tinyVocab("llama-bpe")
	v.Tokens, v.Types = append(v.Tokens, "zz"), append(v.Types, 1) // no merge makes it
	tok, err := New(v)
	require.NoError(t, err)
	require.Equal(t, []int32{int32(len(v.Tokens) - 1)}, tok.Encode("zz"))
	v.Pre = "gpt-2"
	tok, err = New(v)
	require.NoError(t, err)
	require.Len(t, tok.Encode("zz"), 2)
}

func TestTemplateSpecials(t *testing.T) {
	tok := tiny(t, "gpt-2")
	end, longer := int32(1), int32(2)
	count := func(ids []int32, id int32) int {
		n := 0
		for _, x := range ids {
			if x == id {
				n++
			}
		}
		return n
	}
	text := "a<|im_end|>b<|im_end|>x<|im_end|>"
	require.Equal(t, 0, count(tok.Encode(text), end))
	ids := tok.EncodeTemplate(text, nil)
	require.Equal(t, 2, count(ids, end))
	require.Equal(t, 1, count(ids, longer), "the longest special wins")
	require.Equal(t, text, tok.Decode(ids))
	// Each range hides what it touches, an empty one nothing.
	require.Equal(t, 1, count(tok.EncodeTemplate(text, [][2]int{{0, 0}, {2, 3}, {5, 5}}), end))
	require.Equal(t, 0, count(tok.EncodeTemplate(text, [][2]int{{0, len(text)}}), end))
	require.Equal(t, 3, count(tok.EncodeTemplate(text, [][2]int{{11, 12}, {22, 23}}), end), "x is content: the shorter special")
	require.Equal(t, 0, count(tok.EncodeTemplate(text, [][2]int{{11, 12}, {22, 23}}), longer))
	// Out-of-range content is harmless.
	require.Equal(t, text, tok.Decode(tok.EncodeTemplate(text, [][2]int{{3, 9999}})))
}

// TestContentNeverSpecial: no id of a special token comes from inside a range,
// and the ids always spell the text.
func TestContentNeverSpecial(t *testing.T) {
	tok := tiny(t, "qwen2")
	piece := rapid.SampledFrom([]string{"<|im_end|>", "<s>", "<|im_end|>x", "<|im_", "end|>", "<", " a", "b\n", "<s", ">", "日"})
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		var content [][2]int
		for _, p := range rapid.SliceOfN(piece, 0, 20).Draw(t, "pieces") {
			from := text.Len()
			text.WriteString(p)
			if rapid.Bool().Draw(t, "content") {
				content = append(content, [2]int{from, text.Len()})
			}
		}
		ids := tok.EncodeTemplate(text.String(), content)
		if got := tok.Decode(ids); got != text.String() {
			t.Fatalf("%q became %q", text.String(), got)
		}
		at := 0
		for _, id := range ids {
			end := at + len(tok.Bytes(id))
			for _, c := range content {
				if tok.IsSpecial(id) && at < c[1] && end > c[0] {
					t.Fatalf("special %q at %d touches content %v of %q", tok.Bytes(id), at, c, text.String())
				}
			}
			at = end
		}
	})
}

func TestStream(t *testing.T) {
	tok := tiny(t, "gpt-2")
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		s := tok.Stream()
		var out strings.Builder
		for _, id := range tok.Encode(text) {
			part := s.Add(id)
			if !utf8.ValidString(part) {
				t.Fatalf("part %q of %q", part, text)
			}
			out.WriteString(part)
		}
		out.WriteString(s.Flush())
		if out.String() != strings.ToValidUTF8(text, "\uFFFD") {
			t.Fatalf("%q became %q", text, out.String())
		}
	})
	s := tok.Stream()
	require.Equal(t, "", s.Add(tok.base[0xE2]))
	require.Equal(t, "\uFFFDa", s.Add(tok.base['a']), "a lead byte without its rest")
	require.Equal(t, "", s.Add(tok.base[0xF0]))
	require.Equal(t, "\uFFFD", s.Flush())
	require.Equal(t, "", s.Flush())
	require.Equal(t, "", s.Add(-1)+s.Add(1<<30))
}

// TestConcurrent is for the race detector: the word cache is shared.
func TestConcurrent(t *testing.T) {
	tok := tiny(t, "smollm")
	want := tok.Encode(strings.Repeat("ab aba ab12 ", 50))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if got := tok.Encode(strings.Repeat("ab aba ab12 ", 50)); !slices.Equal(got, want) {
					t.Error("differs")
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestLongWord: a megabyte without a space is one word and must not be quadratic.
func TestLongWord(t *testing.T) {
	tok := tiny(t, "qwen2")
	text := strings.Repeat("ab", 1<<19)
	require.Equal(t, text, tok.Decode(tok.Encode(text)))
}

func FuzzRoundTrip(f *testing.F) {
	for _, s := range []string{"", "hello, world", "a  b\r\n\r\n c", "\xff\xfe\xf1", "日本語 ½ 'S", "<|im_end|>", "\x00\x04"} {
		f.Add(s)
	}
	var toks []*Tokenizer
	for pre := range rules {
		toks = append(toks, tiny(f, pre))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, tok := range toks {
			if got := tok.Decode(tok.Encode(text)); got != text {
				t.Fatalf("%q became %q", text, got)
			}
			if got := tok.Decode(tok.EncodeTemplate(text, [][2]int{{len(text) / 3, len(text) / 2}})); got != text {
				t.Fatalf("template %q became %q", text, got)
			}
		}
	})
}

// TestLackingBytes: what the real vocabulary cannot write is left out, nothing else.
func TestLackingBytes(t *testing.T) {
	tok := smol(t)
	lacks := string(tok.Lacks())
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		want := slices.DeleteFunc(slices.Clone(raw), func(b byte) bool { return strings.IndexByte(lacks, b) >= 0 })
		if got := tok.Decode(tok.Encode(string(raw))); got != string(want) {
			t.Fatalf("%q became %q", raw, got)
		}
	})
}
