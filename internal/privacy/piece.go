package privacy

import (
	"regexp"
	"slices"
	"strings"
)

// piece is what may be a part of a number or key: words of a turn that stand
// together.
type piece struct {
	*view
	at     int    // where in the turn
	before string // the word before
	size   int    // letters and digits
	closes bool   // what follows is not what it counts
}

// dictated are a turn's pieces.
type dictated struct {
	turn    *view
	pieces  []piece
	numbers int // pieces with digits
	words   int // words of no piece
}

// Bounds of pieces, in letters and digits, and of chains of them.
const (
	// In a turn of more words, and beside other numbers where the words before
	// say that it is a piece. Of such turns there are no phone numbers and ids:
	// too little tells these from chance.
	manyWords, leastPiece = 24, 3
	// Beside other numbers.
	leastOfTwo = 4
	// In a turn of more numbers, which is about numbers, and before a word that
	// it may count.
	mostPieces, leastOfMany = 3, 6
	// A chain goes on over so many turns without a piece.
	mostSilent = 2
)

// chosen are the pieces that may be of a number said in several turns.
func (d dictated) chosen() []piece {
	var out []piece
	for _, p := range d.pieces {
		least := 1
		switch {
		case d.numbers > mostPieces:
			least = leastOfMany
		case d.numbers > 1 && p.size < leastPiece || d.numbers > 1 && p.size < leastOfTwo && !p.introduced(d.turn):
			continue
		case d.words > manyWords:
			least = leastPiece
		}
		// Capitals beside numbers are names.
		if p.size >= least && (d.words == 0 || p.closes || p.size >= leastOfMany) && (d.numbers == 0 || !capital(p.text)) {
			out = append(out, p)
		}
	}
	return out
}

// introduced says whether the words before a piece say that it is one.
func (p piece) introduced(turn *view) bool {
	switch strings.ToLower(p.before) {
	case "is", "are", "with", "then", "ist", "sind", "mit", "dann", "es", "son", "con", "est", "sont", "avec", "sono":
		return true
	}
	return p.named(turn) != ""
}

// named is a word that says what a piece is, from what stands before it.
func (p piece) named(turn *view) string {
	for _, words := range [][]string{phoneWords, ssnWords} {
		if context(turn.text, p.at, words) {
			return words[0] + " "
		}
	}
	return ""
}

// chains are the turns' pieces as they may follow each other: the last of one
// turn and the first of the next, or the last of each, or the longest. Between
// two pieces of one turn is a gap, since the words between say that they are
// not one number. Turns of more than so many words give none.
func chains(turns []dictated, most int) [][]*view {
	var ends, lasts, longest []*view
	gapped := func() *view { b := &builder{}; b.cut(); return b.view() }()
	said, silent, several := 0, 0, false
	for _, d := range turns {
		all := d.chosen()
		if len(all) == 0 || d.words > most {
			silent++
			continue
		}
		if silent > mostSilent {
			ends, lasts, longest = append(ends, gapped), append(lasts, gapped), append(longest, gapped)
		}
		one := func(p piece) *view { return p.view }
		if said == 0 || silent > mostSilent {
			// What the number is stands before its first piece.
			one = func(p piece) *view {
				b := &builder{}
				b.add(p.named(d.turn), place{-1, -1, -1})
				b.append(p.view, 0, len(p.text))
				return b.view()
			}
		}
		said, silent = said+1, 0
		first, last, long := all[0], all[len(all)-1], all[0]
		for _, p := range all {
			if p.size > long.size {
				long = p
			}
		}
		end := one(last)
		if len(all) == 1 {
			ends, lasts, longest = append(ends, end), append(lasts, end), append(longest, end)
			continue
		}
		several = true
		b := &builder{}
		b.append(first.view, 0, len(first.text))
		b.cut()
		b.append(end, 0, len(end.text))
		ends = append(ends, b.view())
		if d.numbers > mostPieces {
			lasts, longest = append(lasts, gapped), append(longest, gapped)
		} else {
			lasts, longest = append(lasts, end), append(longest, one(long))
		}
	}
	switch {
	case said < 2:
		return nil
	case !several:
		return [][]*view{ends}
	}
	return [][]*view{ends, lasts, longest}
}

// numbersIn are the pieces of numbers in a turn: words with digits in a row,
// and short words of capitals, as ids have.
func numbersIn(v *view) dictated {
	d := dictated{turn: v}
	var b *builder
	p := piece{}
	listed := false
	flush := func() {
		if b != nil {
			if p.view = b.view(); hasDigit(p.text) {
				d.numbers++
			}
			d.pieces = append(d.pieces, p)
		}
		b = nil
	}
	before := ""
	for w, ok := wordFrom(v.text, 0); ok; w, ok = wordFrom(v.text, w.next) {
		s := v.text[w.start:w.end]
		line := ends(v.text, w.next)
		// "B." begins a choice.
		letters := capital(s) && (len(s) > 1 || line || w.end == w.next || strings.IndexByte(".):", v.text[w.end]) < 0)
		if !letters && (!numeric(s) || year(before, s)) {
			flush()
			d.words++
			before = s
			continue
		}
		// The small numbers of a list are not one number.
		if listed && alnum(s) < leastPiece {
			flush()
		}
		listed = w.end < w.next && v.text[w.end] == ',' && alnum(s) < leastPiece
		if b == nil {
			b = &builder{}
			p = piece{at: w.start, before: before}
		} else {
			b.add(" ", place{-1, -1, -1})
		}
		b.append(v, w.start, w.end)
		p.size, p.closes = p.size+alnum(s), line || w.end < w.next || follows(v.text, w.next)
		before = s
	}
	flush()
	return d
}

// ends says whether a line or the text ends at byte i, but for spaces.
func ends(text string, i int) bool {
	for i < len(text) && text[i] == ' ' {
		i++
	}
	return i == len(text) || text[i] == '\n'
}

// follows says whether the next word is one that people say behind a piece, and
// not what a number counts ("2 apples") or another sign of a sum.
func follows(text string, next int) bool {
	w, _ := wordFrom(text, next)
	switch strings.ToLower(text[w.start:w.end]) {
	case "and", "at", "is", "are", "was", "were", "as", "then", "please", "ok", "but", "in", "first", "next", "last", "again", "finally", "so", "thanks", "thank", "now", "which", "that", "i", "it", "comes", "come", "followed", "to", "und", "ist", "sind", "bitte", "dann", "y", "es", "son", "et", "est", "puis", "e", "sono", "poi":
		return true
	}
	return false
}

// capital says whether a word may be the letters of an id.
func capital(s string) bool {
	return s != "" && len(s) <= 6 && s != "I" && s != "OK" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// amount is a number with thousands or decimals; 06.12 is none.
var amount = regexp.MustCompile(`^-?(?:[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|(?:[0-9]|[1-9][0-9])\.[0-9]+)$`)

// numeric says whether a word may be of a private number: ordinals, decades,
// prices, amounts and measures are not.
func numeric(s string) bool {
	if !hasDigit(s) || strings.ContainsAny(s, "$=%\u20ac\u00a3\u00a5\u00b0") || amount.MatchString(s) {
		return false
	}
	return !ordinal(s)
}

// ordinal says whether a word is such as 18th or 1960s.
func ordinal(s string) bool {
	switch strings.TrimLeft(s, "0123456789") {
	case "st", "nd", "rd", "th", "s", "'s":
		return s[0] <= '9'
	}
	return false
}

// year says whether a number is a year by the word before it.
func year(before, s string) bool {
	if len(s) != 4 || s < "1000" || s > "2099" || strings.Trim(s, "0123456789") != "" {
		return false
	}
	switch strings.ToLower(before) {
	case "in", "since", "of", "from", "until", "during", "before", "after", "year", "early", "late", "circa",
		"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december":
		return true
	}
	return false
}

// alnum counts letters and digits.
func alnum(s string) (n int) {
	for i := range len(s) {
		if class(s[i]) != 0 {
			n++
		}
	}
	return n
}

// keyStart is how keys begin.
var keyStart = regexp.MustCompile(`^(?:[srp]k[-_]|gh[oprsu]_|github_pat_|glpat-|hf_|xox[a-z]-|AKIA|ASIA|AIza|eyJ)`)

// Tokens of a turn of many words have so many letters and digits.
const leastToken = 6

// tokensIn are the pieces of keys in a turn: words with digits, of capitals, or
// with capitals within, and those that begin as keys do.
func tokensIn(v *view) dictated {
	d := dictated{turn: v}
	before := ""
	for w, ok := wordFrom(v.text, 0); ok; w, ok = wordFrom(v.text, w.next) {
		s := v.text[w.start:w.end]
		upper := len(s) > 1 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
		if ordinal(s) || !upper && !numeric(s) && changes(s) == 0 && !keyStart.MatchString(s) {
			d.words++
			before = s
			continue
		}
		b := &builder{}
		b.append(v, w.start, w.end)
		d.pieces = append(d.pieces, piece{view: b.view(), at: w.start, before: before, size: alnum(s), closes: true})
		if hasDigit(s) {
			d.numbers++
		}
		before = s
	}
	if d.words > manyWords {
		d.pieces = slices.DeleteFunc(d.pieces, func(p piece) bool { return p.size < leastToken })
	}
	return d
}

// changes counts where a capital follows a small letter, or a digit a letter,
// or a letter a digit.
func changes(s string) (n int) {
	for i := 1; i < len(s); i++ {
		a, b := class(s[i-1]), class(s[i])
		if a == 'a' && b == 'A' || a == '0' && (b == 'a' || b == 'A') || b == '0' && (a == 'a' || a == 'A') {
			n++
		}
	}
	return n
}

// class is 'A', 'a' or '0' for what c is one of, 0 for others.
func class(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return 'A'
	case c >= 'a' && c <= 'z':
		return 'a'
	case isDigit(c):
		return '0'
	}
	return 0
}
