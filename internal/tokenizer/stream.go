package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Stream turns ids into text as they come, never handing out part of a rune.
type Stream struct {
	t    *Tokenizer
	rest []byte // the beginning of a rune, at most 3 bytes
}

// Stream starts a decoder.
func (t *Tokenizer) Stream() *Stream { return &Stream{t: t} }

// Add is the text that id completes, valid UTF-8; bytes that cannot be part of
// a rune become U+FFFD each.
func (s *Stream) Add(id int32) string {
	s.rest = append(s.rest, s.t.Bytes(id)...)
	var out strings.Builder
	i := 0
	for i < len(s.rest) && utf8.FullRune(s.rest[i:]) {
		r, n := utf8.DecodeRune(s.rest[i:])
		out.WriteRune(r)
		i += n
	}
	s.rest = append(s.rest[:0], s.rest[i:]...)
	return out.String()
}

// Flush ends the stream: what is left of a rune becomes U+FFFD.
func (s *Stream) Flush() string {
	n := len(s.rest)
	s.rest = s.rest[:0]
	return strings.Repeat(string(utf8.RuneError), n)
}
