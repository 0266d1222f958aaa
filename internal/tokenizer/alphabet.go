package tokenizer

import "unicode/utf8"

// runeOf and byteOf are GPT-2's alphabet: printable Latin-1 stands for itself,
// every other byte for the next free rune from U+0100 on.
var (
	runeOf [256]rune
	byteOf [0x144]int16 // -1 where the rune stands for no byte
)

func init() {
	for i := range byteOf {
		byteOf[i] = -1
	}
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if !(r >= '!' && r <= '~' || r >= 0xA1 && r <= 0xAC || r >= 0xAE) {
			r, next = next, next+1
		}
		runeOf[b], byteOf[r] = r, int16(b)
	}
}

// toAlphabet writes the bytes of s.
func toAlphabet(s string) string {
	out := make([]byte, 0, 2*len(s))
	for i := 0; i < len(s); i++ {
		out = utf8.AppendRune(out, runeOf[s[i]])
	}
	return string(out)
}

// fromAlphabet is the bytes that s writes; false when a rune is outside the
// alphabet.
func fromAlphabet(s string) (string, bool) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if int(r) >= len(byteOf) || byteOf[r] < 0 {
			return "", false
		}
		out = append(out, byte(byteOf[r]))
		i += n
	}
	return string(out), true
}
