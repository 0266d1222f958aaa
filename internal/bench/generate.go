package bench

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"crayon/internal/fault"
	"crayon/internal/qa"
	"crayon/internal/strategy"
)

// Speaker is an engine that also generates: the greedy answer to each ask, its
// candidates not looked at, of at most so many tokens.
type Speaker interface {
	Say(ctx context.Context, asks []strategy.Ask, tokens int) ([]string, error)
}

// saidTokens is how long a greedy answer may be.
const saidTokens = 32

// shortAnswer is how many words the median gold of a task has at most for its
// answers to be matched exactly.
const shortAnswer = 4

// spoken are the strategies whose greedy answers are scored.
var spoken = []string{base, single, "uniform", "shared", "blend", "polish", "chosen"}

// say scores greedy answers at the headline's k and first draw, for tasks of
// labels or short answers. A plan that weighs candidates has no answer but its
// pick, as in the product.
func (r *runner) say(ctx context.Context, name string, res result, b *bout, sheet *Sheet) error {
	if b.k != headline(r.opt.Shots) || b.draw != 0 || !slices.Contains(spoken, name) || !b.user.short() {
		return nil
	}
	said := make([]int, len(b.rows))
	if res.plan.Plain() {
		texts, err := r.answers(ctx, res.plan, res.task, b.rows)
		if err != nil {
			return err
		}
		for i, text := range texts {
			if normal(text) == normal(b.user.scored[i].Gold()) {
				said[i] = 1
			}
		}
	} else {
		for i, p := range sheet.Picks[name] {
			if p == sheet.Answers[i] {
				said[i] = 1
			}
		}
	}
	if sheet.Said == nil {
		sheet.Said = map[string][]int{}
	}
	sheet.Said[name] = said
	return nil
}

// answers are a plan's greedy answers.
func (r *runner) answers(ctx context.Context, plan *strategy.Plan, t strategy.Task, rows []strategy.Row) ([]string, error) {
	speaker, ok := r.engine.(Speaker)
	if !ok {
		return nil, &fault.Error{Op: "generate answers", Err: errSilent, Exit: fault.ExitUsage, Hint: "leave --generate and --elsewhere out, or run on the processor"}
	}
	asks := make([]strategy.Ask, len(rows))
	for i := range rows {
		asks[i] = plan.Ask(r.engine.Pool(), t, rows[i])
	}
	return speaker.Say(ctx, asks, saidTokens)
}

// short says whether the user's answers are labels or a few words.
func (u *User) short() bool {
	if u.Labels != nil {
		return true
	}
	var words []int
	for i := range u.scored {
		words = append(words, len(strings.Fields(u.scored[i].Gold())))
	}
	slices.Sort(words)
	return len(words) > 0 && words[len(words)/2] <= shortAnswer
}

// freeTexts scores data sets whose rows have no choices, such as gsm8k, by the
// final number of the greedy answer. They are users of their own here alone.
func (r *runner) freeTexts(ctx context.Context, d *qa.Data) ([]Sheet, error) {
	var sheets []Sheet
	family := familyOf(d)
	for _, name := range d.Datasets() {
		if len(r.opt.Datasets) > 0 && !slices.Contains(r.opt.Datasets, name) {
			continue
		}
		split, err := d.EvalSplit(name)
		if err != nil {
			return nil, err
		}
		rows, err := d.All(name, split)
		if err != nil {
			return nil, err
		}
		rows = slices.DeleteFunc(rows, func(row qa.Row) bool { return len(row.Choices) > 0 })
		qa.Shuffle(rows, r.opt.Seed)
		if rows = distinct(rows); len(rows) < MinRows {
			continue
		}
		u := newUser(name, name, "", family(name), rows, r.opt.Rows)
		u.Labels = nil
		u.Group, u.Fold = r.opt.Provenance.group(u.Dataset, u.parts, family), qa.FoldOf(u.Dataset)
		if len(r.opt.Groups) > 0 && !slices.Contains(r.opt.Groups, string(u.Group)) {
			continue
		}
		sheet, err := r.freeText(ctx, u)
		if err != nil {
			return nil, &fault.Error{Op: "score answers of", Path: u.Name, Err: err}
		}
		sheets = append(sheets, sheet)
	}
	return sheets, nil
}

func (r *runner) freeText(ctx context.Context, u *User) (Sheet, error) {
	clear(r.directions)
	k := headline(r.opt.Shots)
	sheet := u.sheet(k, 0, r.engine.Pool().Made.Seed)
	sheet.Picks, sheet.Said = nil, map[string][]int{}
	t, err := r.taskOf(ctx, u, k, 0)
	if err != nil {
		return sheet, err
	}
	rows, err := r.rows(ctx, u.scored, false)
	if err != nil {
		return sheet, err
	}
	for _, m := range r.run {
		if !slices.Contains(spoken, m.name) {
			continue
		}
		r.progress.User, r.progress.Strategy = u.Name, m.name
		r.show()
		plan := &strategy.Plan{Strategy: m.name}
		if m.needs != "" {
			plan.Private = r.engine.Pool().Baseline[m.needs]
		} else {
			s, err := strategy.Get(m.name)
			if err != nil {
				return sheet, err
			}
			if plan, err = s.Fit(ctx, r.shared, t); err != nil {
				return sheet, err
			}
		}
		said := make([]int, len(rows))
		if plan.Plain() {
			texts, err := r.answers(ctx, plan, t, rows)
			if err != nil {
				return sheet, err
			}
			for i, text := range texts {
				if x := finalNumber(text); x != "" && x == finalNumber(u.scored[i].Gold()) {
					said[i] = 1
				}
			}
		}
		sheet.Said[m.name] = said
	}
	return sheet, nil
}

// normal is a text for exact match: lower case, no punctuation, no articles,
// single spaces.
func normal(text string) string {
	return plain(text, func(c rune) bool { return unicode.IsPunct(c) || unicode.IsSymbol(c) })
}

// plain is a text in lower case with single spaces, without articles and the
// characters to drop.
func plain(text string, drop func(rune) bool) string {
	text = strings.Map(func(c rune) rune {
		if drop(c) {
			return -1
		}
		return unicode.ToLower(c)
	}, text)
	return strings.Join(slices.DeleteFunc(strings.Fields(text), func(w string) bool {
		return w == "a" || w == "an" || w == "the"
	}), " ")
}

var number = regexp.MustCompile(`-?\d[\d,]*(?:\.\d+)?`)

// finalNumber is the last number of a text, without thousands separators and
// trailing zeros of a fraction; "" if there is none.
func finalNumber(text string) string {
	all := number.FindAllString(text, -1)
	if len(all) == 0 {
		return ""
	}
	x := strings.ReplaceAll(all[len(all)-1], ",", "")
	if strings.Contains(x, ".") {
		x = strings.TrimRight(strings.TrimRight(x, "0"), ".")
	}
	return cmp.Or(x, "0")
}
