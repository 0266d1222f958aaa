package fake

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// OrdinaryCorpus makes n conversations of 5 to 17 turns with numbers, years,
// prices, measures, hyphenated words and abbreviations in them, and nothing
// private; equal seeds give equal conversations.
func OrdinaryCorpus(seed uint64, n int) [][]Turn {
	r := rand.New(rand.NewPCG(seed, 2))
	var out [][]Turn
	for i := range n {
		talk := talks[i%len(talks)]
		var turns []Turn
		if talk.system != "" {
			turns = append(turns, Turn{"system", talk.system})
		}
		for k := 2 + r.IntN(7); ; k-- {
			question, answer := talk.say(r)
			turns = append(turns, Turn{"user", question})
			if k == 0 {
				break
			}
			turns = append(turns, Turn{"assistant", answer})
		}
		out = append(out, turns)
	}
	return out
}

// talk is a kind of conversation: what its system turn says, and how a
// question and its answer are made.
type talk struct {
	system string
	say    func(r *rand.Rand) (question, answer string)
}

// choices are answers by letter, after the question.
func choices(r *rand.Rand, question string, choice func() string) (string, string) {
	n := 2 + r.IntN(4)
	for i := range n {
		question += fmt.Sprintf("\n%c. %s", 'A'+i, choice())
	}
	return question, string(rune('A' + r.IntN(n)))
}

func some(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

// say puts random values where a template has {a number of the form}: {n} up to
// 100, {h} hundreds, {k} more, {y} a year, {d} a decimal, {p} a price, {o} an
// ordinal, {w} a hyphenated word, {c} capitals, {t} a name with digits.
func say(r *rand.Rand, template string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(template, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		switch rest[0] {
		case 'n':
			fmt.Fprint(&b, 1+r.IntN(99))
		case 'h':
			fmt.Fprint(&b, 10*(10+r.IntN(90)))
		case 'k':
			fmt.Fprint(&b, 1000+r.IntN(90000))
		case 'y':
			fmt.Fprint(&b, 1750+r.IntN(275))
		case 'd':
			fmt.Fprintf(&b, "%d.%d", r.IntN(60), 1+r.IntN(99))
		case 'p':
			fmt.Fprintf(&b, some(r, "$%d.%02d", "\u20ac%d.%02d", "%d.%02d euros"), 1+r.IntN(400), r.IntN(100))
		case 'o':
			fmt.Fprint(&b, some(r, "18th", "19th", "1st", "22nd", "1960s", "1700s", "3rd"))
		case 'w':
			b.WriteString(some(r, "multiple-choice", "well-known", "E-mail", "long-term", "face-to-face", "Over-confidence", "T-group", "key-logger", "right-hand", "all-consuming", "Heart-mind", "warm-weather", "Anglo-Saxon", "co-starred", "self-esteem", "Jean-Claude"))
		case 'c':
			b.WriteString(some(r, "NASA", "WWII", "GDP", "US", "DNA", "SWOT", "NAFTA", "EXCEPT", "NOT", "AC/DC", "MCU", "JavaScript", "YouTube", "HTML"))
		case 't':
			b.WriteString(some(r, "737-800", "A320", "CO2", "H2O", "MP3", "B12", "covid-19", "HbA1c", "F-16", "COVID19", "Boeing 747", "iPhone 12"))
		}
		template = rest[2:]
	}
}

// told is a talk of templates, each a question and its answer.
func told(system string, templates ...[2]string) talk {
	return talk{system, func(r *rand.Rand) (string, string) {
		t := templates[r.IntN(len(templates))]
		return say(r, t[0]), say(r, t[1])
	}}
}

// quiz is a talk of questions with lettered choices, any of each.
func quiz(system string, questions []string, answers ...string) talk {
	return talk{system, func(r *rand.Rand) (string, string) {
		answer := some(r, answers...)
		return choices(r, say(r, some(r, questions...))+some(r, "\n", ""), func() string { return say(r, answer) })
	}}
}

var talks = []talk{
	quiz("Answer the multiple-choice question with the letter of the right choice, and nothing else.", []string{
		"What is the next number in the pattern? {n}, {n}, {n}, {h}, ...",
		"A machine makes {h} parts in {n} minutes. How many does it make in {h} minutes?",
		"How many degrees are there in the angle between {n} and {n} o'clock?",
		"A train goes {d} km in {n} minutes and then {h} km in {n} hours; what is its mean speed, if it stands for {n} minutes at each of the {n} stations on its way?",
		"Which is closest to {k} / {n}?",
	}, "{h}", "{n}", "{d}", "{k}", "{h} W", "between {n} and {n}", "{n} percent; {n} percent", "by {n} fold"),
	quiz("Answer the multiple-choice question with the letter of the right choice, and nothing else.", []string{
		"In which year did the {o} {w} company open its {n} shops?",
		"The war began in {y}. When did it end?",
		"As of {y}, about how many people lived on less than {p} a day?",
		"When was the {t} first shown?",
	}, "{y}", "in {y}", "{k}", "The {o} century", "between {y} and {y}"),
	quiz("Pick the multiple-choice answer. Reply with one letter. Use MLA-style, no e-mail.", []string{
		"Which {w} term of the {o} is used in {c} for {w}?",
		"All of these are {w} {c} {c} of {y}:",
		"Who {w} in the {o} with {c}?",
		"What is {t} in a {w} {c} of {n}?",
	}, "{w}", "{c}", "{w} {c}", "{t}", "The {w} of the {o}"),
	told("Solve the problem. Reply with the number alone.",
		[2]string{"Tom has {n} apples and buys {n} more, of which {n} are bad. How many good ones has he?", "{n}"},
		[2]string{"A shirt costs {p}. How much are {n} of them, with {n} % off?", "{h}"},
		[2]string{"What is {h} + {h}?", "{h}"},
		[2]string{"What is {n} times {n}?", "{k}"},
		[2]string{"If {h} people share {k} equally, how much is left over?", "{n}"}),
	told("",
		[2]string{"Who won the cup in {y}?", "Brazil, {n} to {n}."},
		[2]string{"and in {y}?", "I think it was in {y} that they lost."},
		[2]string{"How old was he then?", "{n}"},
		[2]string{"When did {c} land there?", "{y}"},
		[2]string{"was that before {y}?", "Yes, some {n} years."}),
	told("",
		[2]string{"I need a table for {n} at {n}:30", "For how long?"},
		[2]string{"heat the oven to {h} degrees for {n} minutes, is that right?", "Rather {h}."},
		[2]string{"How many grams are {n} cups?", "About {h} grams."},
		[2]string{"ok and {n} spoons?", "About {n} grams."},
		[2]string{"we are {n} people now", "Then use {d} l of milk."},
		[2]string{"Thanks! What does {w} mean?", "It is a {w} word of the {o}."}),
	told("Say which department the message is for.",
		[2]string{"Where is my order {k}? I paid {p} on {n} May {y}.", "shipping"},
		[2]string{"The {t} I bought for {p} broke after {n} days.", "returns"},
		[2]string{"My flight {c} {h} was {n} hours late", "complaints"},
		[2]string{"Do you have size {n} in {w} blue?", "sales"},
		[2]string{"room {h}, please wake me at {n}", "desk"}),
	told("",
		[2]string{"The {t} has {h} seats, a range of {k} km, and costs {h} million. How does that compare with the one of {y}, which had {h} seats and {n} engines?", "It has {h} more seats and goes {n} % farther; see the {w} {o} issue, page {h}."},
		[2]string{"What does version {d} of {c} change?", "It was {w} since {y}, and needs {h} MB."},
		[2]string{"Write a {w} line on the {o}", "In the {o}, {h} ships of {n} guns sailed; by {y} there were {n}."},
		[2]string{"How far is it from there? Is it {h} or {k} km?", "{k} km"}),
}
