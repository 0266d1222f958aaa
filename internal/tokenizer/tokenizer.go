// Package tokenizer is byte-level BPE as GPT-2 introduced it: text is cut into
// words by a fixed rule, each word starts as bytes, and neighbours are merged
// by rank (Sennrich et al. 2016; Radford et al. 2019).
package tokenizer

import (
	"fmt"
	"hash/maphash"
	"sort"
	"strings"
	"sync/atomic"

	"crayon/internal/fault"
)

// Vocab is what a tokenizer is made of.
type Vocab struct {
	Tokens []string // token of each id, in the GPT-2 byte alphabet
	Merges []string // "left right", best rank first
	Types  []int32  // GGUF token type of each id: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
	Pre    string   // pre-tokenizer: gpt-2, smollm, qwen2, llama-bpe
	EOS    int32    // id that ends a text, -1 when there is none
	BOS    int32    // id that begins a text, -1 when there is none
	AddBOS bool     // the model was trained with BOS before every text
}

// GGUF token types that are not ordinary text.
const (
	typeUnknown     = 2
	typeControl     = 3
	typeUserDefined = 4
	typeUnused      = 5
)

// maxToken is the longest token accepted, in bytes; real ones stay under 512.
const maxToken = 1 << 16

// Tokenizer turns text into ids and back. It is safe for concurrent use.
type Tokenizer struct {
	split    splitter
	words    map[string]int32 // ordinary tokens by their bytes, where a word that is a token is not merged (llama-bpe); else nil
	bytes    []string
	special  []bool
	ids      map[string]int32 // ordinary tokens as the vocabulary writes them
	specials map[string]int32 // special tokens by their text
	byFirst  [256][]int32     // special ids by first byte, longest first
	base     [256]int32       // id of each single byte, -1 when the vocabulary lacks it
	merges   mergeTable
	eos, bos int32
	addBOS   bool
	endTurn  []int32
	seed     maphash.Seed
	cache    []atomic.Pointer[cached]
}

// endNames are the tokens by which the known chat formats end a turn or a text.
var endNames = []string{"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>"}

// New builds a tokenizer. A merge that names a token outside the vocabulary,
// two tokens of the same text, and ids out of range are refused by name.
func New(v Vocab) (*Tokenizer, error) {
	bad := func(format string, args ...any) (*Tokenizer, error) {
		return nil, &fault.Error{Op: "build tokenizer", Err: fmt.Errorf(format, args...),
			Hint: "fetch the model again: its vocabulary is damaged or of a kind Crayon does not read"}
	}
	rule, ok := rules[v.Pre]
	if !ok {
		return nil, &fault.Error{Op: "build tokenizer", Err: fmt.Errorf("unknown pre-tokenizer %q", v.Pre),
			Hint: "use a model whose tokenizer.ggml.pre is one of gpt-2, smollm, qwen2, llama-bpe"}
	}
	n := len(v.Tokens)
	if n == 0 || n > 1<<24 {
		return bad("vocabulary of %d tokens", n)
	}
	if v.Types != nil && len(v.Types) != n {
		return bad("%d token types for %d tokens", len(v.Types), n)
	}
	for _, id := range []int32{v.EOS, v.BOS} {
		if id < -1 || int(id) >= n {
			return bad("end or begin id %d outside a vocabulary of %d", id, n)
		}
	}
	t := &Tokenizer{
		split: rule.split,
		bytes: make([]string, n), special: make([]bool, n),
		ids: make(map[string]int32, n), specials: map[string]int32{},
		eos: v.EOS, bos: v.BOS, addBOS: v.AddBOS && v.BOS >= 0,
		seed: maphash.MakeSeed(), cache: make([]atomic.Pointer[cached], cacheSlots),
	}
	for i := range t.base {
		t.base[i] = -1
	}
	if rule.wholeWord {
		t.words = make(map[string]int32, n)
	}
	for i, tok := range v.Tokens {
		id, kind := int32(i), int32(1)
		if v.Types != nil {
			kind = v.Types[i]
		}
		if len(tok) > maxToken {
			return bad("token %d has %d bytes", id, len(tok))
		}
		switch kind {
		case typeUnused:
			continue
		case typeControl, typeUserDefined, typeUnknown:
			t.special[i], t.bytes[i] = true, tok
			if tok == "" {
				return bad("special token %d is empty", id)
			}
			if other, dup := t.specials[tok]; dup {
				return bad("special token %q is both %d and %d", tok, other, id)
			}
			t.specials[tok] = id
			t.byFirst[tok[0]] = append(t.byFirst[tok[0]], id)
		default:
			raw, ok := fromAlphabet(tok)
			if !ok {
				return bad("token %d (%q) is not in the byte alphabet", id, tok)
			}
			if raw == "" {
				return bad("token %d is empty", id)
			}
			if other, dup := t.ids[tok]; dup {
				return bad("token %q is both %d and %d", tok, other, id)
			}
			t.bytes[i], t.ids[tok] = raw, id
			if t.words != nil {
				t.words[raw] = id
			}
			if len(raw) == 1 {
				t.base[raw[0]] = id
			}
		}
	}
	for _, list := range t.byFirst {
		sort.SliceStable(list, func(i, j int) bool { return len(t.bytes[list[i]]) > len(t.bytes[list[j]]) })
	}
	if err := t.merges.build(v.Merges, t.ids); err != nil {
		return bad("%w", err)
	}
	seen := map[int32]bool{}
	end := func(id int32) {
		if id >= 0 && !seen[id] {
			seen[id] = true
			t.endTurn = append(t.endTurn, id)
		}
	}
	end(v.EOS)
	for _, name := range endNames {
		if id, ok := t.specials[name]; ok {
			end(id)
		}
	}
	return t, nil
}

// Encode is the ids of text. No special token is recognised, so text from a
// user cannot forge one. Bytes the vocabulary has no token for are left out
// (SmolLM2 lacks six control characters and bytes that begin unassigned or no
// code points); see Lacks.
func (t *Tokenizer) Encode(text string) []int32 {
	return t.encode(make([]int32, 0, len(text)/4+4), text)
}

// EncodeTemplate is the ids of a rendered prompt. A special token is recognised
// only where it lies wholly outside the content byte ranges ([from, to),
// ascending, not overlapping); what is between two specials is encoded as one
// text. Of specials that begin at one place the longest is taken.
func (t *Tokenizer) EncodeTemplate(text string, content [][2]int) []int32 {
	dst := make([]int32, 0, len(text)/4+4)
	from, at, next := 0, 0, 0
	for at < len(text) {
		for next < len(content) && (content[next][1] <= at || content[next][1] <= content[next][0]) {
			next++
		}
		limit := len(text)
		if next < len(content) {
			if content[next][0] <= at { // inside a content: skip to its end
				at = min(content[next][1], len(text))
				continue
			}
			limit = min(limit, content[next][0])
		}
		id := t.specialAt(text[at:limit])
		if id < 0 {
			at++
			continue
		}
		dst = append(t.encode(dst, text[from:at]), id)
		at += len(t.bytes[id])
		from = at
	}
	return t.encode(dst, text[from:])
}

// specialAt is the longest special token text begins with, or -1.
func (t *Tokenizer) specialAt(text string) int32 {
	for _, id := range t.byFirst[text[0]] {
		if strings.HasPrefix(text, t.bytes[id]) {
			return id
		}
	}
	return -1
}

// Decode is the exact text of ids, the names of special tokens included. Ids
// outside the vocabulary and unused ones are empty.
func (t *Tokenizer) Decode(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		if id >= 0 && int(id) < len(t.bytes) {
			b.WriteString(t.bytes[id])
		}
	}
	return b.String()
}

// Bytes is the text of one id, possibly part of a rune.
func (t *Tokenizer) Bytes(id int32) []byte { return []byte(t.Decode([]int32{id})) }

// IsSpecial tells a control, user-defined or unknown token from ordinary text.
func (t *Tokenizer) IsSpecial(id int32) bool {
	return id >= 0 && int(id) < len(t.special) && t.special[id]
}

// ID is the id of a token by its text: a special token's name, or the bytes of
// an ordinary token.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.specials[token]; ok {
		return id, true
	}
	id, ok := t.ids[toAlphabet(token)]
	return id, ok
}

// EOS is the id that ends a text, -1 when there is none.
func (t *Tokenizer) EOS() int32 { return t.eos }

// BOS is the id that begins a text.
func (t *Tokenizer) BOS() (int32, bool) { return t.bos, t.bos >= 0 }

// AddBOS says that every text should begin with BOS; Encode does not add it.
func (t *Tokenizer) AddBOS() bool { return t.addBOS }

// EndOfTurn is every id that ends a turn or a text, EOS first.
func (t *Tokenizer) EndOfTurn() []int32 { return append([]int32(nil), t.endTurn...) }

// Size is the number of ids.
func (t *Tokenizer) Size() int { return len(t.bytes) }

// Lacks is the bytes without a token, ascending: Encode leaves them out.
func (t *Tokenizer) Lacks() []byte {
	var out []byte
	for b, id := range t.base {
		if id < 0 {
			out = append(out, byte(b))
		}
	}
	return out
}
