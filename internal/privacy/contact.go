package privacy

import (
	"net/netip"
	"regexp"
	"strings"
)

// Signs for "at" and "dot" as people write them around robots.
const (
	atSign  = `(?: ?@ ?|%40| AT | ?[(\[{] ?(?:at|AT) ?[)\]}] ?)`
	dotSign = `(?: ?\. ?| ?[(\[{] ?(?:dot|DOT) ?[)\]}] ?)`
)

var mailForm = regexp.MustCompile(`[\p{L}\p{N}._%+'-]{1,64}` + atSign + `(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,62})` + dotSign + `){1,8}\p{L}{2,24}`)

// spelt is a mail address in words, "jane dot doe at example dot com".
var spelt = regexp.MustCompile(`(?i)[\p{L}\p{N}_-]{1,64}(?: dot [\p{L}\p{N}_-]{1,64}){0,4} at [\p{L}\p{N}-]{1,64}(?: dot [\p{L}\p{N}-]{1,64}){0,4} dot \p{L}{2,12}\b`)

func findMails(text string, _ []run, add func(int, int)) {
	lower := strings.ToLower(text)
	if strings.Contains(lower, " dot ") && strings.Contains(lower, " at ") {
		for _, at := range spelt.FindAllStringIndex(text, -1) {
			add(at[0], at[1])
		}
	}
	if !containsAny(lower, "@ %40 at) at] at}") && !strings.Contains(text, " AT ") {
		return
	}
	for _, at := range mailForm.FindAllStringIndex(text, -1) {
		add(at[0], at[1])
	}
}

var phoneWords = []string{"phone", "telephone", "tel", "mobile", "cell", "call", "fax", "whatsapp", "sms", "text me", "reach me", "dial", "ring", "contact number",
	"handy", "telefon", "rufnummer", "mobil", "telefono", "teléfono", "móvil", "téléphone", "portable", "cellulare", "telefone", "celular"}

// codes are the country calling codes (ITU-T E.164).
var codes = func() map[string]bool {
	out := map[string]bool{}
	for _, c := range strings.Fields(`1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98
211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236 237 238 239 240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255 256 257 258
260 261 262 263 264 265 266 267 268 269 290 291 297 298 299 350 351 352 353 354 355 356 357 358 359 370 371 372 373 374 375 376 377 378 379 380 381 382 383 385 386 387 389
420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 598 599 670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692
800 808 850 852 853 855 856 870 878 880 881 882 883 886 888 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 992 993 994 995 996 998`) {
		out[c] = true
	}
	return out
}()

func coded(d string) bool {
	for n := 1; n <= 3 && n < len(d); n++ {
		if codes[d[:n]] {
			return true
		}
	}
	return false
}

func findPhones(text string, runs []run, add func(int, int)) {
	for _, r := range runs {
		for k, g := range r.groups {
			start := r.pos[g]
			if wordAt(text, start-1, start) && !isDigit(text[max(0, start-1)]) && g == 0 && text[start-1] != '_' {
				continue // part of a name such as A320
			}
			// The longest that can be one number, ending with a group.
			for end := min(len(r.digits), g+17); end >= g+7; end-- {
				if r.at(end) && phone(text, &r, k, g, end) {
					add(r.span(g, end))
					break
				}
			}
		}
	}
}

// phone says whether digits g to end of a run, whose group k begins there, are
// a phone number.
func phone(text string, r *run, k, g, end int) bool {
	d, n := r.digits[g:end], end-g
	start := r.pos[g]
	plus := start > 0 && text[start-1] == '+' && (start < 2 || !isDigit(text[start-2]))
	whole := g == 0 && end == len(r.digits)
	if r.single && !whole && !plus && !strings.HasPrefix(d, "00") {
		return false // a long list of digits has a number of every form in it
	}
	groups := r.lengths(g, end)
	named := whole && context(text, start, phoneWords)
	is := func(want ...int) bool { return grouped(r, g, n, want...) }
	switch {
	case plus:
		return n >= 8 && n <= 15 && coded(d)
	case decimal(r, k):
		return false
	case named && n >= 7 && n <= 15 && !date(groups, d):
		return true
	case !r.regular(g, end) && !is(1, 3, 3, 4):
		return false
	case strings.HasPrefix(d, "00"):
		return n >= 10 && n <= 17 && d[2] != '0' && coded(d[2:])
	case d[0] == '0':
		// A trunk 0 and the national number.
		return whole && n >= 9 && n <= 12 && (len(groups) > 1 || n >= 10) && d[1] != '0' && !date(groups, d)
	case is(3, 3, 4), is(1, 3, 3, 4) && d[0] == '1':
		return nanp(d[n-10:]) && (whole || !r.single)
	case is(5, 5):
		return whole && d[0] >= '6'
	case is(2, 5, 4), is(2, 9) && start > 0 && text[start-1] == '(':
		return whole && d[2] == '9' && d[0] != '0'
	case is(3, 2, 2, 2):
		return whole && strings.IndexByte("6789", d[0]) >= 0
	}
	return false
}

func nanp(d string) bool { return d[0] >= '2' && d[3] >= '2' }

// date says whether groups are those of a date, such as 01.02.2020.
func date(groups []int, d string) bool {
	if len(groups) < 3 {
		return false
	}
	a, b, c := groups[0], groups[1], groups[2]
	return a <= 2 && b <= 2 && c == 4 && (d[a+b] == '1' || d[a+b] == '2') || a == 4 && b <= 2 && c <= 2
}

// decimal says whether a run is a number with decimals, 0.123456789.
func decimal(r *run, k int) bool { return k+1 < len(r.seps) && r.seps[k+1] == "." && len(r.seps) == 2 }

var (
	ip4Form = regexp.MustCompile(`\d{1,3}(?:\.\d{1,3}){3}`)
	ip6Form = regexp.MustCompile(`(?i)[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}`)
)

func findIPs(text string, _ []run, add func(int, int)) {
	for _, re := range []*regexp.Regexp{ip4Form, ip6Form} {
		for _, at := range re.FindAllStringIndex(text, -1) {
			if wordAt(text, at[0]-1, at[0]) || wordAt(text, at[1]-1, at[1]) {
				continue
			}
			if ip, err := netip.ParseAddr(text[at[0]:at[1]]); err == nil && !ip.IsUnspecified() {
				add(at[0], at[1])
			}
		}
	}
}
