package privacy

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// findCards finds card numbers of the known issuers (ISO/IEC 7812).
func findCards(text string, runs []run, add func(int, int)) {
	check := func(runs []run, ok func(r *run, at, n int) bool) {
		for i := range runs {
			r := &runs[i]
			for _, g := range r.groups {
				for n := 13; n <= 19 && g+n <= len(r.digits); n++ {
					d := r.digits[g : g+n]
					if r.at(g+n) && issued(d) && Luhn(d) && r.regular(g, g+n) && !same(d) && ok(r, g, n) {
						add(r.span(g, g+n))
					}
				}
			}
		}
	}
	check(runs, func(*run, int, int) bool { return true })
	// In a card's own groups, whatever is between them.
	check(runsOf(text, " -./()_\n*,;:|+=>", 6), func(r *run, at, n int) bool {
		return grouped(r, at, n, 4, 4, 4, 4) || grouped(r, at, n, 4, 6, 5) || grouped(r, at, n, 4, 6, 4) || grouped(r, at, n, 4, 4, 4, 4, 3)
	})
}

func same(d string) bool { return strings.Count(d, d[:1]) == len(d) }

// issued says whether a number's beginning and length are an issuer's.
func issued(d string) bool {
	n := len(d)
	p := func(k int) int { x, _ := strconv.Atoi(d[:k]); return x }
	in := func(x, lo, hi int) bool { return lo <= x && x <= hi }
	switch {
	case d[0] == '4':
		return n == 13 || n == 16 || n == 19
	case in(p(2), 51, 55), in(p(4), 2221, 2720):
		return n == 16
	case p(2) == 34, p(2) == 37:
		return n == 15
	case p(4) == 6011, in(p(3), 644, 649), p(2) == 65, in(p(4), 3528, 3589), p(2) == 62, p(2) == 81:
		return n >= 16
	case in(p(3), 300, 305), p(2) == 36, p(2) == 38, p(2) == 39:
		return n == 14 || n >= 16
	case in(p(4), 2200, 2204):
		return n >= 16
	case p(2) == 50, in(p(2), 56, 58), p(2) == 63, p(2) == 67, p(2) == 60:
		return n >= 16
	}
	return false
}

// Luhn says whether digits end in their check digit (ISO/IEC 7812-1, annex B).
func Luhn(d string) bool {
	sum := 0
	for i := range len(d) {
		x := int(d[len(d)-1-i] - '0')
		if i%2 == 1 {
			if x *= 2; x > 9 {
				x -= 9
			}
		}
		sum += x
	}
	return sum%10 == 0
}

// ibans are the forms of accounts behind country and check digits (the SWIFT
// registry): n digits, a letters, c either.
var ibans = map[string]string{
	"AD": "8n12c", "AE": "19n", "AL": "8n16c", "AT": "16n", "AZ": "4a20c", "BA": "16n", "BE": "12n", "BG": "4a6n8c", "BH": "4a14c", "BI": "23n",
	"BR": "23n1a1c", "BY": "4c4n16c", "CH": "5n12c", "CR": "18n", "CY": "8n16c", "CZ": "20n", "DE": "18n", "DJ": "23n", "DK": "14n", "DO": "4c20n",
	"EE": "16n", "EG": "25n", "ES": "20n", "FI": "14n", "FK": "2a12n", "FO": "14n", "FR": "10n11c2n", "GB": "4a14n", "GE": "2a16n", "GI": "4a15c",
	"GL": "14n", "GR": "7n16c", "GT": "4c20c", "HN": "4a20n", "HR": "17n", "HU": "24n", "IE": "4a14n", "IL": "19n", "IQ": "4a15n", "IS": "22n",
	"IT": "1a10n12c", "JO": "4a4n18c", "KW": "4a22c", "KZ": "3n13c", "LB": "4n20c", "LC": "4a24c", "LI": "5n12c", "LT": "16n", "LU": "3n13c", "LV": "4a13c",
	"LY": "21n", "MC": "10n11c2n", "MD": "2c18c", "ME": "18n", "MK": "3n10c2n", "MN": "16n", "MR": "23n", "MT": "4a5n18c", "MU": "4a19n3a", "NI": "4a20n",
	"NL": "4a10n", "NO": "11n", "OM": "3n16c", "PK": "4a16c", "PL": "24n", "PS": "4a21c", "PT": "21n", "QA": "4a21c", "RO": "4a16c", "RS": "18n",
	"RU": "14n15c", "SA": "2n18c", "SC": "4a20n3a", "SD": "14n", "SE": "20n", "SI": "15n", "SK": "20n", "SM": "1a10n12c", "SO": "19n", "ST": "21n",
	"SV": "4a20n", "TL": "19n", "TN": "20n", "TR": "6n16c", "UA": "6n19c", "VA": "18n", "VG": "4a16n", "XK": "16n", "YE": "4a4n18c",
}

var ibanForms = func() map[string]string {
	out := map[string]string{}
	part := regexp.MustCompile(`(\d+)([nac])`)
	for country, form := range ibans {
		var b strings.Builder
		for _, m := range part.FindAllStringSubmatch(form, -1) {
			n, _ := strconv.Atoi(m[1])
			b.WriteString(strings.Repeat(m[2], n))
		}
		out[country] = b.String()
	}
	return out
}()

var ibanStart = regexp.MustCompile(`(?i)[A-Z][ .-]{0,2}[A-Z][ .-]{0,2}\d[ .-]{0,2}\d`)

func findIBANs(text string, runs []run, add func(int, int)) {
	for _, w := range around(text, runs, 8) {
		findIBANsIn(text, w[0], w[1], add)
	}
}

// findIBANsIn finds those that begin between two bytes.
func findIBANsIn(text string, from, to int, add func(int, int)) {
	for at := from; at < to; {
		m := ibanStart.FindStringIndex(text[at:to])
		if m == nil {
			return
		}
		start := at + m[0]
		at = start + 1
		head, _, ok := take(text, start, 4)
		if !ok {
			continue
		}
		form := ibanForms[head[:2]]
		if form == "" {
			continue
		}
		if all, end, ok := take(text, start, 4+len(form)); ok && fits(all[4:], form) && mod97(all) {
			add(start, end)
		}
	}
}

// take reads n letters and digits from start on, in capitals, over separators.
func take(text string, start, n int) (out string, end int, ok bool) {
	b := make([]byte, 0, n)
	between := 0
	for i := start; i < len(text) && len(b) < n; i++ {
		c := text[i]
		switch {
		case isDigit(c), c >= 'A' && c <= 'Z':
			b = append(b, c)
		case c >= 'a' && c <= 'z':
			b = append(b, c-32)
		case strings.IndexByte(" -.\n_/", c) >= 0 && between < maxSeparator:
			between++
			continue
		default:
			return "", 0, false
		}
		between, end = 0, i+1
	}
	return string(b), end, len(b) == n
}

func fits(s, form string) bool {
	for i := range len(form) {
		digit := isDigit(s[i])
		if form[i] == 'n' && !digit || form[i] == 'a' && digit {
			return false
		}
	}
	return true
}

// mod97 is the check of ISO 13616 over an IBAN without separators.
func mod97(s string) bool {
	var b strings.Builder
	for _, c := range []byte(s[4:] + s[:4]) {
		if isDigit(c) {
			b.WriteByte(c)
		} else {
			b.WriteString(strconv.Itoa(int(c-'A') + 10))
		}
	}
	n, ok := new(big.Int).SetString(b.String(), 10)
	return ok && new(big.Int).Mod(n, big.NewInt(97)).Int64() == 1
}
