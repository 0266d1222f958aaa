package pooltrain

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"crayon/internal/pool"
	"crayon/internal/qa"
	"crayon/internal/task"
	"crayon/internal/train"
)

// maxShots is the most worked examples before a question.
const maxShots = 4

// builder makes examples of rows. What it makes of a row is fixed by the seed,
// the row's number and the rows of its task.
type builder struct {
	form   *task.Form
	recipe *Recipe
	rows   []qa.Labelled
	tasks  map[[2]string][]int // rows by data set and subject
	like   [][]float32         // a row's direction; nil: worked examples are any of the task
}

func newBuilder(form *task.Form, r *Recipe, rows []qa.Labelled, directions [][]float32) *builder {
	b := &builder{form: form, recipe: r, rows: rows, like: directions, tasks: map[[2]string][]int{}}
	for i := range rows {
		k := [2]string{rows[i].Dataset, rows[i].Subject}
		b.tasks[k] = append(b.tasks[k], i)
	}
	return b
}

// extras is the stream of what came to a recipe later than its first keys,
// apart from the first so that these go on drawing the same.
const extras = 1 << 62

// example encodes row i. Nested says that its blended adapters are to have
// weight 0, so that the shared one learns to stand alone.
func (b *builder) example(i int) (ex train.Example, nested bool, err error) {
	row := &b.rows[i]
	wrong, listed := choices(b.recipe, row, rand.New(rand.NewPCG(b.recipe.Rows.Seed, uint64(i))))
	ex.Answers = append(ex.Answers, b.form.Answer(row.Gold()))
	for _, w := range wrong[:min(len(wrong), b.recipe.Answers-1)] {
		ex.Answers = append(ex.Answers, b.form.Answer(w))
	}
	rng := rand.New(rand.NewPCG(b.recipe.Rows.Seed, extras+uint64(i)))
	nested = rng.Float64() < b.recipe.Nested
	var shots []task.Shot
	if rng.Float64() < b.recipe.Shots {
		shots = b.shots(i, listed, 1+rng.IntN(maxShots), rng)
	}
	ex.Prompt, err = b.prompt(task.Text(row.Question, row.Context, listed), shots, ex.Answers)
	return ex, nested, err
}

// choices are a row's wrong choices, shuffled, and what its prompt lists. Label
// rows list their labels (shuffled, sometimes only some of them), as the
// product does for a label task; a share of ordinary rows list their own
// choices, so that answering from a list is learnt from more than the label
// tasks.
func choices(r *Recipe, row *qa.Labelled, rng *rand.Rand) (wrong, listed []string) {
	gold := row.Gold()
	for i, c := range row.Choices {
		if i != row.Answer && c != gold {
			wrong = append(wrong, c)
		}
	}
	rng.Shuffle(len(wrong), func(i, j int) { wrong[i], wrong[j] = wrong[j], wrong[i] })
	switch {
	case len(row.Labels) > 0:
		if len(wrong) > 3 && rng.Float64() < r.SubsetShare {
			wrong = wrong[:3+rng.IntN(len(wrong)-3)]
		}
		listed = append(slices.Clone(wrong), gold)
	case len(wrong) > 0 && rng.Float64() < r.ListedShare:
		listed = append(slices.Clone(wrong), gold)
	}
	rng.Shuffle(len(listed), func(i, j int) { listed[i], listed[j] = listed[j], listed[i] })
	return wrong, listed
}

// most rows are looked at for worked examples: a user's dozen.
const most = 16

// shots are n other rows of row i's task as worked examples, or as many as
// there are: of a dozen drawn, as many as a user gives, those most like it, the
// nearest last, as when serving. Of a label task they are rows that the labels
// which row i lists answer.
func (b *builder) shots(i int, listed []string, n int, rng *rand.Rand) []task.Shot {
	row := &b.rows[i]
	own := row.Content()
	others := b.tasks[[2]string{row.Dataset, row.Subject}]
	type near struct {
		shot   task.Shot
		cosine float32
	}
	var found []near
	for range 2 * most { // a task may hold few rows that fit: no search without end
		j := others[rng.IntN(len(others))]
		o := &b.rows[j]
		shot := task.Shot{Text: task.Text(o.Question, o.Context, nil), Answer: o.Gold()}
		if len(row.Labels) > 0 && !slices.Contains(listed, shot.Answer) || o.Content() == own ||
			slices.ContainsFunc(found, func(x near) bool { return x.shot == shot }) {
			continue
		}
		x := near{shot: shot}
		if b.like != nil {
			x.cosine = pool.Cosine(b.like[i], b.like[j])
		}
		if found = append(found, x); len(found) == most {
			break
		}
	}
	slices.SortStableFunc(found, func(x, y near) int { return cmp.Compare(x.cosine, y.cosine) })
	var out []task.Shot
	for _, x := range found[max(0, len(found)-n):] {
		out = append(out, x.shot)
	}
	return out
}

// prompt is text after the worked examples, of which the first are left out
// until all of it has room beside the longest answer.
func (b *builder) prompt(text string, shots []task.Shot, answers [][]int32) ([]int32, error) {
	longest := 0
	for _, a := range answers {
		longest = max(longest, len(a))
	}
	for ; ; shots = shots[1:] {
		ids, err := b.form.Shots(shots, text)
		if err != nil || len(shots) == 0 || len(ids)+longest <= b.recipe.MaxTokens {
			return ids, err
		}
	}
}
