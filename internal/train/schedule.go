package train

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"crayon/internal/reference"
)

// task is an example cut to size and laid out as a tree: the prompt, and each
// answer without its last token, which predicts nothing.
type task struct {
	tree    reference.Branches
	answers [][]int32
	row     []float32
	tokens  int
}

func newTask(c Config, p *Params, e Example) task {
	answers := e.Answers
	if c.Loss == LM {
		answers = answers[:1]
	}
	t := task{row: p.row(e.Weights)}
	longest := 0
	for _, a := range answers {
		a = a[:min(len(a), c.MaxAnswer)]
		longest = max(longest, len(a))
		t.answers = append(t.answers, a)
		t.tree.Branch = append(t.tree.Branch, a[:len(a)-1])
	}
	prompt := e.Prompt
	if room := c.MaxTokens - longest; len(prompt) > room {
		prompt = prompt[len(prompt)-room:]
	}
	t.tree.Prefix = prompt
	t.tokens = t.tree.Tokens()
	return t
}

// step is one step of the optimiser: its micro-batches, of tasks by number.
type step struct {
	micro    [][]int
	tokens   int
	examples int
}

// schedule fixes every step of a run from the seed and the lengths alone: not
// from the number of workers, so that the sums, and with them the result, are
// the same for any number.
func schedule(c Config, tasks []task) []step {
	rng := rand.New(rand.NewPCG(c.Seed, math.MaxUint64)) // no slot has this stream
	var groups [][]int
	for range c.Epochs {
		order := rng.Perm(len(tasks))
		window := len(order)
		if c.Bucket > 0 {
			window = c.Bucket
		}
		for part := range slices.Chunk(order, window) {
			if c.Bucket > 0 {
				slices.SortStableFunc(part, func(i, j int) int { return cmp.Compare(tasks[i].tokens, tasks[j].tokens) })
			}
			full := fill(c.StepTokens, tasks, part)
			if c.Bucket > 0 {
				rng.Shuffle(len(full), func(i, j int) { full[i], full[j] = full[j], full[i] })
			}
			groups = append(groups, full...)
		}
	}
	steps := make([]step, len(groups))
	for i, g := range groups {
		steps[i] = split(c.MicroTokens, tasks, g)
	}
	return steps
}

// fill cuts the order into groups of at least the given tokens. What is left
// over joins the last group when it is under half of one.
func fill(tokens int, tasks []task, order []int) [][]int {
	var groups [][]int
	size, start := 0, 0
	for i, id := range order {
		size += tasks[id].tokens
		if size >= tokens {
			groups = append(groups, order[start:i+1])
			size, start = 0, i+1
		}
	}
	switch rest := order[start:]; {
	case len(rest) == 0:
	case size < tokens/2 && len(groups) > 0:
		last := len(groups) - 1
		groups[last] = order[start-len(groups[last]):]
	default:
		groups = append(groups, rest)
	}
	return groups
}

// split shares a group out to micro-batches of nearly equal size: the longest
// tasks first, each to the emptiest.
func split(tokens int, tasks []task, group []int) step {
	s := step{examples: len(group)}
	for _, id := range group {
		s.tokens += tasks[id].tokens
	}
	count := min(max(1, int(math.Round(float64(s.tokens)/float64(tokens)))), len(group))
	s.micro = make([][]int, count)
	sizes := make([]int, count)
	sorted := slices.Clone(group)
	slices.SortStableFunc(sorted, func(i, j int) int { return cmp.Compare(tasks[j].tokens, tasks[i].tokens) })
	for _, id := range sorted {
		to := 0
		for k := range sizes {
			if sizes[k] < sizes[to] {
				to = k
			}
		}
		s.micro[to] = append(s.micro[to], id)
		sizes[to] += tasks[id].tokens
	}
	return s
}
