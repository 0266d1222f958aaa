package signal

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mostRead bounds how much of a query is read for its traits, in bytes.
const mostRead = 4 << 10

// traits are what the words of a query tell.
type traits struct {
	words    int
	letters  int // letters of any script
	latin    int // of the Latin one
	runes    int // but for spaces
	numbers  int // words that are numbers or hold digits
	marks    int // characters that code has and prose has not
	fenced   bool
	common   int // words that are among English's commonest
	asked    int // words of an answer that it asks for; 0: it does not say
	question bool
	why      bool
}

// commonest words of English that are not also common elsewhere.
var commonest = set("the of and to is that it was for on are with as they be at this have from or had by but what all were when your can there an which their if will each about how out them then she many some these would other into has more her two like him see could my than been who its now did get may i you do does me should")

var asking = set("who whom whose what when where which why how")

var reasons = set("why how explain prove derive compare analyse analyze reason justify evaluate discuss")

// lengths are words that ask for an answer of about so many words.
var lengths = map[string]int{
	"essay": 600, "story": 500, "article": 600, "report": 600, "blog": 500, "speech": 400, "chapter": 1000, "poem": 120, "limerick": 40, "haiku": 17,
	"letter": 200, "email": 150, "mail": 150, "program": 200, "script": 200, "recipe": 200, "summary": 100, "paragraph": 100, "list": 60, "detail": 200, "detailed": 200,
	"briefly": 20, "short": 20, "shortly": 20, "sentence": 20, "word": 1,
}

// units are what a number before them counts.
var units = map[string]int{"words": 1, "sentences": 20, "paragraphs": 100, "pages": 400, "lines": 10, "items": 10, "points": 15, "steps": 20, "tokens": 1}

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// read looks at the beginning of a text, once.
func read(text string) traits {
	var t traits
	if len(text) > mostRead {
		text = text[:mostRead]
		for len(text) > 0 && !utf8.ValidString(text[len(text)-min(len(text), utf8.UTFMax):]) {
			text = text[:len(text)-1]
		}
	}
	t.fenced = strings.Contains(text, "```")
	for _, r := range text {
		if unicode.IsSpace(r) {
			continue
		}
		t.runes++
		switch {
		case unicode.IsLetter(r):
			t.letters++
			if unicode.Is(unicode.Latin, r) {
				t.latin++
			}
		case strings.ContainsRune("{}[]<>=;_/\\|&^~`$#@*+", r):
			t.marks++
		}
	}
	number := 0 // the word before, if it is one
	for w := range strings.FieldsFuncSeq(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '.' && r != '\'' }) {
		w = strings.ToLower(strings.Trim(w, ".'"))
		if w == "" {
			continue
		}
		t.words++
		if strings.ContainsFunc(w, unicode.IsDigit) {
			t.numbers++
		}
		if commonest[w] {
			t.common++
		}
		t.question = t.question || asking[w]
		t.why = t.why || reasons[w]
		if n := units[w]; n > 0 && number > 0 {
			t.asked = max(t.asked, min(number, mostAsked)*n)
		} else if n := lengths[w]; n > 0 && t.asked == 0 {
			t.asked = n
		}
		number = 0
		if n, err := strconv.Atoi(w); err == nil && n > 0 {
			number = n
		}
	}
	return t
}

// mostAsked bounds what a number asks for.
const mostAsked = 10000
