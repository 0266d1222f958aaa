package train

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"crayon/internal/reference"
)

// Task is an example cut to size and laid out as a tree: the prompt, and each
// answer without its last token, which predicts nothing.
type Task struct {
	Tree    reference.Branches
	Answers [][]int32 // of Example, cut
	Row     []float32 // Params.Row of its weights
	Tokens  int       // of Tree

	lesson *Lesson // the loss, where it is not the config's
}

func newTask(c Config, p *Params, e Example) Task {
	answers := e.Answers
	if c.Loss == LM {
		answers = answers[:1]
	}
	t := Task{Row: p.Row(e.Weights)}
	longest := 0
	for _, a := range answers {
		a = a[:min(len(a), c.MaxAnswer)]
		longest = max(longest, len(a))
		t.Answers = append(t.Answers, a)
		t.Tree.Branch = append(t.Tree.Branch, a[:len(a)-1])
	}
	prompt := e.Prompt
	if room := c.MaxTokens - longest; len(prompt) > room {
		prompt = prompt[len(prompt)-room:]
	}
	t.Tree.Prefix = prompt
	t.Tokens = t.Tree.Tokens()
	return t
}

// Step is one step of the optimiser: its micro-batches, of tasks by number.
type Step struct {
	Micro    [][]int
	Tokens   int
	Examples int
}

// schedule fixes every step of a run from the seed and the lengths alone: not
// from the number of workers, so that the sums, and with them the result, are
// the same for any number.
func schedule(c Config, tasks []Task) []Step {
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
				slices.SortStableFunc(part, func(i, j int) int { return cmp.Compare(tasks[i].Tokens, tasks[j].Tokens) })
			}
			full := fill(c.StepTokens, tasks, part)
			if c.Bucket > 0 {
				rng.Shuffle(len(full), func(i, j int) { full[i], full[j] = full[j], full[i] })
			}
			groups = append(groups, full...)
		}
	}
	steps := make([]Step, len(groups))
	for i, g := range groups {
		steps[i] = split(c.MicroTokens, tasks, g)
	}
	return steps
}

// fill cuts the order into groups of at least the given tokens. What is left
// over joins the last group when it is under half of one.
func fill(tokens int, tasks []Task, order []int) [][]int {
	var groups [][]int
	size, start := 0, 0
	for i, id := range order {
		size += tasks[id].Tokens
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
func split(tokens int, tasks []Task, group []int) Step {
	s := Step{Examples: len(group)}
	for _, id := range group {
		s.Tokens += tasks[id].Tokens
	}
	count := min(max(1, int(math.Round(float64(s.Tokens)/float64(tokens)))), len(group))
	s.Micro = make([][]int, count)
	sizes := make([]int, count)
	sorted := slices.Clone(group)
	slices.SortStableFunc(sorted, func(i, j int) int { return cmp.Compare(tasks[j].Tokens, tasks[i].Tokens) })
	for _, id := range sorted {
		to := 0
		for k := range sizes {
			if sizes[k] < sizes[to] {
				to = k
			}
		}
		s.Micro[to] = append(s.Micro[to], id)
		sizes[to] += tasks[id].Tokens
	}
	return s
}
