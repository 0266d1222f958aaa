package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitter cuts text into words and hands them on in order; together they are
// the text.
type splitter func(text string, word func(string))

// rules are the pre-tokenizers by their GGUF name. Each is the scan that a
// backtracking regular expression engine makes of the published pattern.
var rules = map[string]struct {
	split     splitter
	wholeWord bool
}{
	"gpt-2":     {splitGPT2, false},
	"smollm":    {splitSmolLM, false},
	"qwen2":     {func(s string, word func(string)) { splitDigits(s, 1, word) }, false},
	"llama-bpe": {func(s string, word func(string)) { splitDigits(s, 3, word) }, true},
	"llama-v3":  {func(s string, word func(string)) { splitDigits(s, 3, word) }, true},
	"llama3":    {func(s string, word func(string)) { splitDigits(s, 3, word) }, true},
}

type class uint8

const (
	other  class = iota // none of those below; also each byte of invalid UTF-8
	letter              // \p{L}
	number              // \p{N}
	space               // \s, the Unicode property White_Space
)

var ascii [utf8.RuneSelf]class

func init() {
	for b := range ascii {
		ascii[b] = classOf(rune(b))
	}
}

func classOf(r rune) class {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// at is the class and width in bytes of the rune at s[i]; width 0 at the end.
func at(s string, i int) (class, int) {
	if i >= len(s) {
		return other, 0
	}
	if b := s[i]; b < utf8.RuneSelf {
		return ascii[b], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	if r == utf8.RuneError {
		return other, n
	}
	return classOf(r), n
}

// run is the end of the run of class c that begins at s[i], i itself if none.
func run(s string, i int, c class) int {
	for i < len(s) {
		got, n := at(s, i)
		if got != c {
			break
		}
		i += n
	}
	return i
}

// contraction is the length of 's 't 're 've 'm 'll 'd at the start of s, else
// 0; fold matches them in any case, U+017F as an s.
func contraction(s string, fold bool) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	lower := func(b byte) byte {
		if fold && b >= 'A' && b <= 'Z' {
			return b + 'a' - 'A'
		}
		return b
	}
	switch lower(s[1]) {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if len(s) > 2 && lower(s[2]) == 'e' {
			return 3
		}
	case 'l':
		if len(s) > 2 && lower(s[2]) == 'l' {
			return 3
		}
	}
	if fold && strings.HasPrefix(s[1:], "ſ") {
		return 1 + len("ſ")
	}
	return 0
}

// blanks is the end of the word of a whitespace run s[i:end): all of it at the
// end of the text, else all but its last rune, which the next word may want
// (\s+(?!\S)), else that one rune (\s+).
func blanks(s string, i, end int) int {
	if end == len(s) {
		return end
	}
	_, last := utf8.DecodeLastRuneInString(s[i:end])
	if end-last > i {
		return end - last
	}
	return end
}

// splitGPT2 scans
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func splitGPT2(s string, word func(string)) {
	for i := 0; i < len(s); {
		end := i + contraction(s[i:], false)
		if end == i {
			j := i
			if s[i] == ' ' {
				j++
			}
			c, n := at(s, j)
			if n > 0 && c != space {
				end = run(s, j, c)
			} else {
				end = blanks(s, i, run(s, i, space))
			}
		}
		word(s[i:end])
		i = end
	}
}

// splitSmolLM makes every \p{N} a word of its own and scans what is between
// them as GPT-2 does, each stretch as if it were a whole text.
func splitSmolLM(s string, word func(string)) {
	from := 0
	for i := 0; i < len(s); {
		c, n := at(s, i)
		if c == number {
			splitGPT2(s[from:i], word)
			word(s[i : i+n])
			from = i + n
		}
		i += n
	}
	splitGPT2(s[from:], word)
}

// splitDigits scans, with most = 1 (qwen2) or 3 (llama 3),
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,most}
//	| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
func splitDigits(s string, most int, word func(string)) {
	for i := 0; i < len(s); {
		end := digitsWord(s, i, most)
		word(s[i:end])
		i = end
	}
}

// digitsWord is the end of the word that begins at s[i].
func digitsWord(s string, i, most int) int {
	if n := contraction(s[i:], true); n > 0 {
		return i + n
	}
	c, n := at(s, i)
	switch c {
	case letter:
		return run(s, i, letter)
	case number:
		end := i + n
		for range most - 1 {
			c, n := at(s, end)
			if n == 0 || c != number {
				break
			}
			end += n
		}
		return end
	}
	breaks := s[i] == '\r' || s[i] == '\n'
	if c, m := at(s, i+n); m > 0 && c == letter && !breaks {
		return run(s, i+n, letter)
	}
	j := i
	if s[i] == ' ' {
		j++
	}
	if end := run(s, j, other); end > j {
		for end < len(s) && (s[end] == '\r' || s[end] == '\n') {
			end++
		}
		return end
	}
	end := run(s, i, space)
	if k := strings.LastIndexAny(s[i:end], "\r\n"); k >= 0 {
		return i + k + 1
	}
	return blanks(s, i, end)
}
