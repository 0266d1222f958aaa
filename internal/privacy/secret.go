package privacy

import (
	"math"
	"regexp"
	"strings"
)

// secrets are the forms of keys and tokens that say what they are. A finding
// needs at least the entropy, in bits a character, of its first group (or of
// all): names such as sk-learn-pipeline-step have the form too.
var secrets = []struct {
	starts  string // in small letters: one of these words is in every match
	form    *regexp.Regexp
	entropy float64
	mixed   bool // has letters and digits
}{
	{"sk- rk- pk-", regexp.MustCompile(`\b(?:sk|rk|pk)-(?:proj-|ant-|or-v1-|svcacct-|admin-|lf-)?([A-Za-z0-9_-]{16,})`), 3, true},
	{"sk_ rk_ pk_", regexp.MustCompile(`\b(?:sk|rk|pk)_(?:live|test|prod)_([A-Za-z0-9]{10,})`), 2.5, false},
	{"gho_ ghp_ ghr_ ghs_ ghu_ github_pat_ glpat- glptt- npm_ pypi- dckr_", regexp.MustCompile(`\b(?:gh[oprsu]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}|glptt-[0-9a-f]{40}|npm_[A-Za-z0-9]{30,}|pypi-AgE[A-Za-z0-9_-]{40,}|dckr_pat_[A-Za-z0-9_-]{20,})`), 2.5, false},
	{"a3t akia asia agpa aida aroa anpa anva", regexp.MustCompile(`\b(?:A3T[A-Z0-9]|AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA)[A-Z0-9]{16}\b`), 2.5, false},
	{"aiza ya29. gocspx-", regexp.MustCompile(`\b(?:AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,})`), 2.5, false},
	{"xox xapp-", regexp.MustCompile(`\b(?:xox[abeoprs]-|xapp-)[A-Za-z0-9-]{10,}`), 2.5, true},
	{"hf_ gsk_ xai- nvapi- pplx- r8_ fw_ tgp_ sq0 shpat_ shpca_ shppa_ shpss_ dop_ doo_ lin_api_ ntn_ secret_ whsec_ rdme_ hvs. s. pmak- dapi key- sg.", regexp.MustCompile(`\b(?:hf_|gsk_|xai-|nvapi-|pplx-|r8_|fw_|tgp_v1_|sq0atp-|sq0csp-|shp(?:at|ca|pa|ss)_|dop_v1_|doo_v1_|lin_api_|ntn_|secret_|whsec_|rdme_|hvs\.|s\.|PMAK-|dapi|key-|SG\.)[A-Za-z0-9_.=-]{20,}`), 3, true},
	{"ac sk", regexp.MustCompile(`\b(?:AC|SK)[0-9a-f]{32}\b`), 2.5, false},
	{":", regexp.MustCompile(`\b\d{8,10}:[A-Za-z0-9_-]{35}\b`), 3, true},
	{"eyj", regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*`), 3, false},
	{"private", regexp.MustCompile(`-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----`), 0, false},
	{"https://", regexp.MustCompile(`\bhttps://(?:hooks\.slack\.com/(?:services|workflows)|discord(?:app)?\.com/api/webhooks)/[A-Za-z0-9/_-]{20,}`), 0, false},
	{"://", regexp.MustCompile(`\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s/:@]{0,64}:([^\s/@]{3,128})@[^\s/]+`), 0, false},
	{"bearer basic", regexp.MustCompile(`(?i)\b(?:bearer|basic)\s+([A-Za-z0-9._~+/-]{16,}=*)`), 3, true},
	{"key token secret", regexp.MustCompile(`(?i)(?:api|access|secret|private|client|account|auth|signing|encryption)[ _-]?(?:key|token|secret)["']?\s*(?::|=|is|was)\s*["']?([A-Za-z0-9._~+/=-]{12,})`), 2.8, true},
	{"token secret credential", regexp.MustCompile(`(?i)\b(?:token|secret|credential)s?["']?\s*(?::|=|is)\s*["']?([A-Za-z0-9._~+/=-]{16,})`), 3, true},
	{"passw passphrase passcode pwd pw kennwort contraseña passe", regexp.MustCompile(`(?i)\b(?:password|passwd|passphrase|passcode|pwd|pw|passwort|kennwort|contraseña|mot de passe)["']?\s*(?::|=)\s*["']?([^\s"']{4,128})`), 0, false},
	{"passw passphrase passcode pwd kennwort contraseña passe", regexp.MustCompile(`(?i)\b(?:password|passwd|passphrase|passcode|pwd|passwort|kennwort|contraseña|mot de passe) (?:is|was|ist|es|est)\s*:?\s*["']?([^\s"']{6,128})`), 0, true},
}

// Long strings of random letters and digits that say nothing.
const (
	denseLength  = 32
	denseEntropy = 4.2
)

func findSecrets(text string, _ []run, add func(int, int)) {
	lower := strings.ToLower(text)
	for i := range secrets {
		s := &secrets[i]
		if !containsAny(lower, s.starts) {
			continue
		}
		for _, at := range s.form.FindAllStringSubmatchIndex(text, -1) {
			value := text[at[0]:at[1]]
			if len(at) > 3 && at[2] >= 0 {
				value = text[at[2]:at[3]]
			}
			if entropy(value) >= s.entropy && (!s.mixed || mixed(value)) {
				add(at[0], at[1])
			}
		}
	}
	for i := 0; i < len(text); i++ {
		start := i
		for i < len(text) && inToken[text[i]] {
			i++
		}
		if i-start < denseLength {
			continue
		}
		if s := text[start:i]; entropy(s) >= denseEntropy && classes(s) == 3 && strings.Count(s, "/") < 4 && strings.Count(s, "-")+strings.Count(s, "_") < 5 {
			add(start, i)
		}
	}
}

// inToken says which characters tokens are made of.
var inToken = func() (in [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-") {
		in[c] = true
	}
	return in
}()

// containsAny says whether one of the words, separated by spaces, is in s.
func containsAny(s, words string) bool {
	for w := range strings.FieldsSeq(words) {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// entropy is the mean information of a character of s, in bits.
func entropy(s string) float64 {
	var count [256]int
	for i := range len(s) {
		count[s[i]]++
	}
	h := 0.0
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(s))
			h -= p * math.Log2(p)
		}
	}
	return h
}

func mixed(s string) bool {
	return strings.ContainsAny(s, "0123456789") && strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// classes counts the kinds of character: capitals, small letters, digits.
func classes(s string) int {
	var upper, lower, digit int
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'A' && c <= 'Z':
			upper = 1
		case c >= 'a' && c <= 'z':
			lower = 1
		case isDigit(c):
			digit = 1
		}
	}
	return upper + lower + digit
}
