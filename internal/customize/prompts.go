package customize

import (
	"math"

	"crayon/internal/chat"
	"crayon/internal/pool"
	"crayon/internal/strategy"
	"crayon/internal/task"
)

// Prompts is what a question costs in prompt tokens: the means over the user's
// own questions, to two decimals. Each question stands alone, so that nothing is
// in the prefix cache. Answers are not counted.
type Prompts struct {
	Questions int        `json:"questions"` // that were counted
	Asks      float64    `json:"asks"`      // prompts a question
	Tokens    float64    `json:"tokens"`    // in all of them
	InPrompt  []InPrompt `json:"in_prompt"` // the base model instead, the fewest examples first; none where none has an answer
}

// InPrompt is a prompt with examples in it, those most like the question: the
// strategies shots5 and shots16.
type InPrompt struct {
	Examples int     `json:"examples"`
	All      bool    `json:"all"` // those there are
	Tokens   float64 `json:"tokens"`
}

// mostCounted bounds the questions whose prompts are counted.
const mostCounted = 32

// CountPrompts counts what questions cost that are as the examples are, evenly
// spread ones where there are many. The prompt under a row of weights is
// computed once for all of its candidates; prompts under different rows share
// nothing.
func (c *Customisation) CountPrompts(in *pool.Pool, f *task.Form) (*Prompts, error) {
	plan, err := c.Fitted(in)
	if err != nil {
		return nil, err
	}
	t := c.Task()
	answered := 0
	for i := range t.Rows {
		if t.Rows[i].Labelled() {
			answered++
		}
	}
	p := &Prompts{Questions: min(len(t.Rows), mostCounted), InPrompt: []InPrompt{}}
	rivals := []*strategy.Plan{plan}
	for _, n := range []int{5, 16} {
		if k := min(n, answered); k > 0 && (len(p.InPrompt) == 0 || k > p.InPrompt[0].Examples) {
			p.InPrompt = append(p.InPrompt, InPrompt{Examples: k, All: k == answered})
			rivals = append(rivals, &strategy.Plan{Shots: n})
		}
	}
	sums := make([]int, len(rivals))
	asks := 0
	for i := range p.Questions {
		q := t.Rows[i*len(t.Rows)/p.Questions]
		if q.Gold = -1; len(c.Labels) == 0 {
			q.Candidates = c.Examples[i*len(t.Rows)/p.Questions].Choices // as it would be asked: nil for a free answer
		}
		for k, rival := range rivals {
			prompts, err := promptsOf(in, f, rival, t, q)
			if err != nil {
				return nil, err
			}
			for _, ids := range prompts {
				sums[k] += len(ids)
			}
			if k == 0 {
				asks += len(prompts)
			}
		}
	}
	mean := func(sum int) float64 { return math.Round(100*float64(sum)/float64(max(1, p.Questions))) / 100 }
	p.Asks, p.Tokens = mean(asks), mean(sums[0])
	for k := range p.InPrompt {
		p.InPrompt[k].Tokens = mean(sums[k+1])
	}
	return p, nil
}

// promptsOf are those that answer a question under a plan.
func promptsOf(in *pool.Pool, f *task.Form, plan *strategy.Plan, t strategy.Task, q strategy.Row) ([][]int32, error) {
	if !chooses(plan, q) {
		a := plan.Ask(in, t, q)
		ids, err := strategy.Turns(f, []chat.Message{{Role: "user", Content: a.Text}}, a.Shots)
		return [][]int32{ids}, err
	}
	var out [][]int32
	for _, a := range plan.Asks(in, t, q) {
		ids, err := a.Prompt(f)
		if err != nil {
			return nil, err
		}
		out = append(out, ids)
	}
	return out, nil
}
