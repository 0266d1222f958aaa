package privacy

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	ssnWords = []string{"ssn", "social security", "itin", "tax id", "taxpayer"}
	ninoForm = regexp.MustCompile(`(?i)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ .-]{0,2}\d[ .-]?\d[ .-]{0,2}\d[ .-]?\d[ .-]{0,2}\d[ .-]?\d[ .-]{0,2}[A-D]`)
	cfForm   = regexp.MustCompile(`(?i)(?:[A-Z][ .-]?){6}(?:[0-9LMNPQRSTUV][ .-]?){2}[ABCDEHLMPRST][ .-]?(?:[0-9LMNPQRSTUV][ .-]?){2}[A-Z][ .-]?(?:[0-9LMNPQRSTUV][ .-]?){3}[A-Z]`)
	nirForm  = regexp.MustCompile(`(?i)[1-478](?:[ .-]{0,2}\d){4}[ .-]{0,2}2[ .-]?[AB](?:[ .-]{0,2}\d){8}`)
)

// findIDs finds national identity, insurance and tax numbers.
func findIDs(text string, runs []run, add func(int, int)) {
	for _, r := range runs {
		for _, g := range r.groups {
			for _, form := range numbers {
				if end := g + form.digits; end <= len(r.digits) && r.at(end) && form.valid(text, &r, g, r.digits[g:end]) && r.regular(g, end) {
					add(r.span(g, end))
				}
			}
			if end, ok := spanish(text, &r, g); ok {
				add(end[0], end[1])
			}
		}
	}
	alone := func(at []int) bool { return !wordAt(text, at[0]-1, at[0]) && !wordAt(text, at[1]-1, at[1]) }
	// Each may begin within the match before it.
	in := func(re *regexp.Regexp, from, to int, ok func(string) bool) {
		for from < to {
			at := re.FindStringIndex(text[from:to])
			if at == nil {
				return
			}
			at[0], at[1] = at[0]+from, at[1]+from
			if alone(at) && ok(squeeze(text[at[0]:at[1]])) {
				add(at[0], at[1])
				from = at[1]
				continue
			}
			from = at[0] + 1
		}
	}
	windows := around(text, runs, 32)
	each := func(re *regexp.Regexp, ok func(string) bool) {
		for _, w := range windows {
			if digitsOf(text[w[0]:w[1]]) < leastIDDigits {
				continue
			}
			in(re, w[0], w[1], ok)
		}
	}
	each(ninoForm, func(s string) bool { return !strings.Contains("BG GB KN NK NT TN ZZ", s[:2]) })
	each(cfForm, CodiceFiscale)
	each(nirForm, func(s string) bool { return NIR(s) })
}

// leastIDDigits is how many digits an id with letters has at least.
const leastIDDigits = 5

func digitsOf(s string) (n int) {
	for i := range len(s) {
		if isDigit(s[i]) {
			n++
		}
	}
	return n
}

// squeeze is the letters and digits of s, in capitals.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 32
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return -1
	}, s)
}

// numbers are the ids of digits alone. A form with a weak check or none needs
// its own grouping or a word before it.
var numbers = []struct {
	digits int
	valid  func(text string, r *run, at int, d string) bool
}{
	{9, func(text string, r *run, at int, d string) bool {
		return SSN(d) && (grouped(r, at, 9, 3, 2, 4) || context(text, r.pos[at], ssnWords))
	}},
	{11, func(_ string, _ *run, _ int, d string) bool { return SteuerID(d) || CPF(d) }},
	// Groups of three are those of any large number.
	{12, func(_ string, r *run, at int, d string) bool { return Aadhaar(d) && !grouped(r, at, 12, 3, 3, 3, 3) }},
	{15, func(_ string, _ *run, _ int, d string) bool { return NIR(d) }},
}

func grouped(r *run, at, n int, want ...int) bool {
	have := r.lengths(at, at+n)
	if len(have) != len(want) {
		return false
	}
	for i := range want {
		if have[i] != want[i] {
			return false
		}
	}
	return true
}

// SSN says whether 9 digits can be a US social security number, or a taxpayer
// number in its place.
func SSN(d string) bool {
	area, group := d[:3], d[3:5]
	if group == "00" || d[5:] == "0000" || area == "000" || area == "666" {
		return false
	}
	if d[0] == '9' {
		return group >= "50" && group <= "65" || group >= "70" && group <= "88" || group >= "90" && group != "93"
	}
	return d != "123456789" || area == "123"
}

// SteuerID says whether 11 digits are a German tax id: ISO 7064 mod 11,10, and
// of the first ten digits just one occurs more than once.
func SteuerID(d string) bool {
	if d[0] == '0' {
		return false
	}
	var count [10]int
	product := 10
	for i := range 10 {
		x := int(d[i] - '0')
		count[x]++
		sum := (x + product) % 10
		if sum == 0 {
			sum = 10
		}
		product = sum * 2 % 11
	}
	repeated := 0
	for _, n := range count {
		if n > 3 {
			return false
		}
		if n > 1 {
			repeated++
		}
	}
	check := 11 - product
	if check == 10 {
		check = 0
	}
	return repeated == 1 && check == int(d[10]-'0')
}

// CPF says whether 11 digits are a Brazilian tax number.
func CPF(d string) bool {
	if same(d) {
		return false
	}
	for n := 9; n <= 10; n++ {
		sum := 0
		for i := range n {
			sum += int(d[i]-'0') * (n + 1 - i)
		}
		if sum*10%11%10 != int(d[n]-'0') {
			return false
		}
	}
	return true
}

// The Verhoeff check's multiplication in D5 and its permutation.
var (
	verhoeffD = [10][10]byte{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 2, 3, 4, 0, 6, 7, 8, 9, 5}, {2, 3, 4, 0, 1, 7, 8, 9, 5, 6}, {3, 4, 0, 1, 2, 8, 9, 5, 6, 7}, {4, 0, 1, 2, 3, 9, 5, 6, 7, 8},
		{5, 9, 8, 7, 6, 0, 4, 3, 2, 1}, {6, 5, 9, 8, 7, 1, 0, 4, 3, 2}, {7, 6, 5, 9, 8, 2, 1, 0, 4, 3}, {8, 7, 6, 5, 9, 3, 2, 1, 0, 4}, {9, 8, 7, 6, 5, 4, 3, 2, 1, 0}}
	verhoeffP = [8][10]byte{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 5, 7, 6, 2, 8, 3, 0, 9, 4}, {5, 8, 0, 3, 7, 9, 6, 1, 4, 2}, {8, 9, 1, 6, 0, 4, 3, 5, 2, 7},
		{9, 4, 5, 3, 1, 2, 6, 8, 7, 0}, {4, 2, 8, 6, 5, 7, 3, 9, 0, 1}, {2, 7, 9, 3, 8, 0, 6, 4, 1, 5}, {7, 0, 4, 6, 9, 1, 3, 2, 5, 8}}
)

// Verhoeff says whether digits end in their Verhoeff check digit.
func Verhoeff(d string) bool {
	c := byte(0)
	for i := range len(d) {
		c = verhoeffD[c][verhoeffP[i%8][d[len(d)-1-i]-'0']]
	}
	return c == 0
}

// Aadhaar says whether 12 digits are an Indian Aadhaar number.
func Aadhaar(d string) bool { return d[0] >= '2' && !same(d) && Verhoeff(d) }

// NIR says whether 15 characters are a French social security number with its
// key; Corsica's departments are 2A and 2B.
func NIR(s string) bool {
	if len(s) != 15 || !strings.Contains("123478", s[:1]) {
		return false
	}
	month, _ := strconv.Atoi(s[3:5])
	if !(month >= 1 && month <= 12 || month >= 20 && month <= 42 || month >= 50) {
		return false
	}
	n, err := strconv.ParseInt(strings.NewReplacer("2A", "19", "2B", "18").Replace(s[5:7]), 10, 64)
	if err != nil || n == 0 {
		return false
	}
	head, err1 := strconv.ParseInt(s[:5], 10, 64)
	tail, err2 := strconv.ParseInt(s[7:13], 10, 64)
	key, err3 := strconv.ParseInt(s[13:], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return false
	}
	return 97-((head*100+n)*1e6+tail)%97 == key
}

const dniLetters = "TRWAGMYFPDXBNJZSQVHLCKE"

// spanish finds a DNI (8 digits and a letter) or NIE (a letter, 7 digits, a
// letter) whose digits begin at digit g of a run.
func spanish(text string, r *run, g int) (at [2]int, ok bool) {
	n := len(r.digits) - g
	if n != 7 && n != 8 || !r.regular(g, len(r.digits)) {
		return at, false
	}
	start, end := r.span(g, len(r.digits))
	i := end
	for i < len(text) && i-end < 2 && strings.IndexByte(" -.", text[i]) >= 0 {
		i++
	}
	if i >= len(text) || wordAt(text, i, i+1) {
		return at, false
	}
	letter := text[i]
	if letter >= 'a' && letter <= 'z' && (i == end || text[end] == '-') {
		letter -= 32
	}
	if letter < 'A' || letter > 'Z' {
		return at, false
	}
	digits := r.digits[g:]
	if n == 7 {
		k := start - 1
		for k >= 0 && start-k <= 2 && strings.IndexByte(" -.", text[k]) >= 0 {
			k--
		}
		if k < 0 || wordAt(text, k-1, k) {
			return at, false
		}
		first := strings.IndexByte("XYZ", text[k]&^0x20)
		if first < 0 {
			return at, false
		}
		digits, start = strconv.Itoa(first)+digits, k
	} else if g == 0 && wordAt(text, start-1, start) {
		return at, false
	}
	x, _ := strconv.Atoi(digits)
	return [2]int{start, i + 1}, dniLetters[x%23] == letter
}

// The values of a codice fiscale's characters in odd places, of 0-9 and A-Z.
var cfOdd = [36]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}

// CodiceFiscale says whether 16 characters end in their check letter.
func CodiceFiscale(s string) bool {
	if len(s) != 16 {
		return false
	}
	sum := 0
	for i := range 15 {
		c := s[i]
		x, even := 0, 0
		if isDigit(c) {
			x, even = int(c-'0'), int(c-'0')
		} else {
			x, even = int(c-'A')+10, int(c-'A')
		}
		if x < 0 || x > 35 {
			return false
		}
		if i%2 == 0 {
			sum += cfOdd[x]
		} else {
			sum += even
		}
	}
	return byte('A'+sum%26) == s[15]
}
