package bench

import (
	"crypto/sha256"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"unicode"

	"github.com/dustin/go-humanize/english"

	"crayon/internal/qa"
)

// Mark says where a scored row was found, as a sum.
type Mark uint

// The marks.
const (
	SameContent  Mark = 1 << iota // a training row has the same context, question and choices
	SameQuestion                  // a training row has the same context and question, written alike, and the same gold
	SharedWords                   // a training row shares 13 words in a row
	OwnExample                    // one of the user's rows for examples has the same content, or question and gold

	marks = SameContent | SameQuestion | SharedWords | OwnExample
	// unclean are the marks of rows whose answer was there to learn.
	unclean = SameContent | SameQuestion | OwnExample
)

// Bounds of the shared runs of words.
const (
	runWords = 13
	// commonRun is how many training rows a run may be in: one of more is a
	// data set's template, and no sign of a copy.
	commonRun = 10
	// mostWords of a row are looked at.
	mostWords = 4096
	// mix is an odd number whose multiples spread over all bits (that of splitmix64).
	mix = 0xbf58476d1ce4e5b9
)

// Found counts scored rows that were found elsewhere; a row may count in several.
type Found struct {
	Rows     int `json:"rows"` // that were looked for
	Same     int `json:"same"`
	Question int `json:"question"`
	Ngram    int `json:"ngram"`
	Own      int `json:"own"`
}

func (f *Found) add(m Mark) {
	f.Rows++
	for mark, n := range map[Mark]*int{SameContent: &f.Same, SameQuestion: &f.Question, SharedWords: &f.Ngram, OwnExample: &f.Own} {
		if m&mark != 0 {
			*n++
		}
	}
}

// Contamination is Found over all scored rows and by data set.
type Contamination struct {
	Found
	ByDataset map[string]*Found `json:"by_dataset"`
}

// count counts each user's rows once; nil where nobody looked.
func count(sheets []*Sheet) *Contamination {
	out := &Contamination{ByDataset: map[string]*Found{}}
	for _, all := range marksOf(sheets) {
		of := out.ByDataset[all.dataset]
		if of == nil {
			of = &Found{}
			out.ByDataset[all.dataset] = of
		}
		for _, m := range all.marks {
			out.add(m)
			of.add(m)
		}
	}
	if out.Rows == 0 {
		return nil
	}
	return out
}

// marked are a user's marks over all sheets: those of one draw are those of
// another, but repeats may have pools of other rows.
type marked struct {
	dataset string
	marks   []Mark
}

func marksOf(sheets []*Sheet) map[string]*marked {
	out := map[string]*marked{}
	for _, s := range sheets {
		if len(s.Found) == 0 {
			continue
		}
		m := out[s.User]
		if m == nil {
			m = &marked{s.Dataset, make([]Mark, len(s.Found))}
			out[s.User] = m
		}
		for i, x := range s.Found {
			m.marks[i] |= x
		}
	}
	return out
}

// cleaned are the sheets without the rows whose answer was there to learn; nil
// where there is no such row, or not every sheet was looked at.
func cleaned(sheets []*Sheet) []*Sheet {
	found := marksOf(sheets)
	var out []*Sheet
	less := false
	for _, s := range sheets {
		if len(s.Picks) == 0 {
			continue
		}
		m := found[s.User]
		if m == nil {
			return nil
		}
		c := *s
		c.IDs, c.Choices, c.Answers, c.Picks = nil, nil, nil, map[string][]int{}
		for i := range s.IDs {
			if m.marks[i]&unclean != 0 {
				less = true
				continue
			}
			c.IDs, c.Choices, c.Answers = append(c.IDs, s.IDs[i]), append(c.Choices, s.Choices[i]), append(c.Answers, s.Answers[i])
			for name, picks := range s.Picks {
				c.Picks[name] = append(c.Picks[name], picks[i])
			}
		}
		if len(c.IDs) > 0 {
			out = append(out, &c)
		}
	}
	if !less {
		return nil
	}
	return out
}

// foundNote begins the note that follows from the marks.
const foundNote = "contamination: "

// note says how much was found, and where most.
func (c *Contamination) note() []string {
	if c == nil {
		return nil
	}
	worst, most := "", 0.0
	for _, name := range sorted(c.ByDataset) {
		of := c.ByDataset[name]
		if share := float64(max(of.Same, of.Question)) / float64(of.Rows); share > most {
			worst, most = name, share
		}
	}
	text := fmt.Sprintf("%s%d of %s with the content of a training row, %d with the question and answer of one, %d with %d words in a row of one; %d among the user's own examples",
		foundNote, c.Same, english.Plural(c.Rows, "scored row", ""), c.Question, c.Ngram, runWords, c.Own)
	if worst != "" {
		of := c.ByDataset[worst]
		text += fmt.Sprintf("; most in %s, %d of %d", worst, max(of.Same, of.Question), of.Rows)
	}
	return []string{text}
}

// contaminated marks the sheets' rows, and says in notes what could not be
// looked at.
func (r *runner) contaminated(sheets []Sheet) []string {
	var notes []string
	if r.opt.Trained == nil {
		return append(notes, "not looked for contamination: the rows that the pool was trained on are not here")
	}
	for _, what := range r.opt.Untold {
		notes = append(notes, "not wholly looked for contamination: "+what)
	}
	found := marksOfUsers(r.people.Users, r.opt.Trained)
	for i := range sheets {
		if s := &sheets[i]; len(s.Picks) > 0 {
			s.Found = found[s.User]
		}
	}
	return notes
}

// marksOfUsers looks for the users' scored rows among the training rows and the
// users' own. What is kept is of the scored rows: the training rows pass once.
func marksOfUsers(users []*User, trained *qa.Training) map[string][]Mark {
	x := newIndex()
	out := map[string][]Mark{}
	for _, u := range users {
		of := make([]Mark, len(u.scored))
		out[u.Name] = of
		own := newKeys()
		for i := range u.reserve {
			own.add(&u.reserve[i])
		}
		for i := range u.scored {
			row := &u.scored[i]
			if own.has(row) {
				of[i] |= OwnExample
			}
			x.add(row, &of[i])
		}
	}
	for i := range trained.Groups {
		for j := range trained.Groups[i].Rows {
			x.pass(&trained.Groups[i].Rows[j])
		}
	}
	x.settle()
	return out
}

// digest is a sha256.
type digest = [sha256.Size]byte

// questionKey is of a row's context, question and gold as alike has them; false
// where the question has no word left.
func questionKey(row *qa.Row) (digest, bool) {
	question := alike(row.Question)
	return qa.Hash(0, alike(row.Context), question, alike(row.Gold())), question != ""
}

// alike is a text in lower case with single spaces, without punctuation and
// articles. Signs of arithmetic stay: without them other sums would be equal.
func alike(text string) string {
	return plain(text, func(c rune) bool { return unicode.IsPunct(c) && !strings.ContainsRune("-*/%", c) })
}

// keys are rows' contents and questions.
type keys struct{ contents, questions map[digest]bool }

func newKeys() *keys { return &keys{map[digest]bool{}, map[digest]bool{}} }

func (k *keys) add(row *qa.Row) {
	k.contents[row.Content()] = true
	if q, ok := questionKey(row); ok {
		k.questions[q] = true
	}
}

func (k *keys) has(row *qa.Row) bool {
	q, ok := questionKey(row)
	return k.contents[row.Content()] || ok && k.questions[q]
}

// index finds scored rows by what training rows have.
type index struct {
	contents, questions map[digest][]*Mark
	runs                map[uint64]int // of words, to their place in seen
	seen                []seenRun
	rows                []indexed
	passed              int
	words               []uint64 // hashes of those of the row in work
}

// seenRun is in how many training rows a run of words is.
type seenRun struct{ rows, last int }

type indexed struct {
	mark *Mark
	runs []int
}

func newIndex() *index {
	return &index{contents: map[digest][]*Mark{}, questions: map[digest][]*Mark{}, runs: map[uint64]int{}}
}

// add is a scored row that gets its marks.
func (x *index) add(row *qa.Row, m *Mark) {
	key := row.Content()
	x.contents[key] = append(x.contents[key], m)
	if q, ok := questionKey(row); ok {
		x.questions[q] = append(x.questions[q], m)
	}
	in := indexed{mark: m}
	x.eachRun(row, func(run uint64) {
		at, ok := x.runs[run]
		if !ok {
			at = len(x.seen)
			x.runs[run] = at
			x.seen = append(x.seen, seenRun{})
		}
		in.runs = append(in.runs, at)
	})
	x.rows = append(x.rows, in)
}

// pass is a training row.
func (x *index) pass(row *qa.Row) {
	x.passed++
	for _, m := range x.contents[row.Content()] {
		*m |= SameContent
	}
	if q, ok := questionKey(row); ok {
		for _, m := range x.questions[q] {
			*m |= SameQuestion
		}
	}
	x.eachRun(row, func(run uint64) {
		at, ok := x.runs[run]
		if !ok || x.seen[at].last == x.passed {
			return
		}
		x.seen[at].rows++
		x.seen[at].last = x.passed
	})
}

// settle marks shared runs, after all training rows have passed.
func (x *index) settle() {
	for _, in := range x.rows {
		if slices.ContainsFunc(in.runs, func(at int) bool { n := x.seen[at].rows; return n > 0 && n <= commonRun }) {
			*in.mark |= SharedWords
		}
	}
}

// eachRun gives a hash of every 13 words in a row of the context and question,
// in lower case and without punctuation.
func (x *index) eachRun(row *qa.Row, f func(uint64)) {
	words := x.words[:0]
	h := fnv.New64a()
	for _, text := range []string{row.Context, row.Question} {
		for word := range strings.FieldsFuncSeq(text, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsNumber(c) && !unicode.IsMark(c) }) {
			if len(words) < mostWords {
				h.Reset()
				h.Write([]byte(strings.ToLower(word)))
				words = append(words, h.Sum64())
			}
		}
	}
	x.words = words
	for i := 0; i+runWords <= len(words); i++ {
		var run uint64
		for _, w := range words[i : i+runWords] {
			run = (run ^ w) * mix
			run ^= run >> 29
		}
		f(run)
	}
}

// foundGrid is where scored rows were found; data sets without any are left out.
func (r *Report) foundGrid() grid {
	g := grid{title: "scored rows that are also among the training rows, or the user's own examples",
		cells: [][]string{{"data set", "rows", "same content", "same question and answer", "13 words in a row", "own example"}}}
	if r.Contamination == nil {
		return g
	}
	row := func(name string, f *Found) {
		g.cells = append(g.cells, []string{name, fmt.Sprint(f.Rows), fmt.Sprint(f.Same), fmt.Sprint(f.Question), fmt.Sprint(f.Ngram), fmt.Sprint(f.Own)})
	}
	row("all", &r.Contamination.Found)
	for _, name := range sorted(r.Contamination.ByDataset) {
		if f := r.Contamination.ByDataset[name]; f.Same+f.Question+f.Ngram+f.Own > 0 {
			row(name, f)
		}
	}
	return g
}

// cleanGrid is the first table without the rows whose answer was there to learn.
func (r *Report) cleanGrid() grid {
	g := grid{title: "clean: without the rows whose content or question was there to learn [95 % interval]", cells: [][]string{{"strategy"}}}
	var in []Group
	for _, group := range coreGroups {
		if r.Clean[group] == nil {
			continue
		}
		in = append(in, group)
		for _, f := range r.Clean[group] {
			g.cells[0] = append(g.cells[0], fmt.Sprintf("%s (%d rows)", groupName(group), f.Rows))
			break
		}
	}
	for _, s := range r.Settings.Strategies {
		row := []string{s}
		for _, group := range in {
			if f := r.Clean[group][s]; f != nil {
				row = append(row, interval3(f))
			}
		}
		if len(row) == len(in)+1 && len(in) > 0 {
			g.cells = append(g.cells, row)
		}
	}
	return g
}
