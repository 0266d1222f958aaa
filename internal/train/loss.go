package train

import (
	"math"

	"crayon/internal/kernel"
	"crayon/internal/reference"
)

// headRows is how many positions' logits are held at once (50 MB at 49,152
// words), unless a single example has more.
const headRows = 256

// head computes logits, only where an answer's token is predicted.
type head struct {
	rows   []int     // batch tokens of all positions, ascending
	x      []float32 // some positions' normed residuals; then their gradient
	logits []float32 // positions x Vocab; then their gradient
	lse    []float32 // log of the sum of e^logit, a position
}

// target is one predicted token: its position among the head's rows.
type target struct {
	row int
	id  int32
}

// lossAndHead computes the loss of all tasks, each times share, and puts its
// gradient in the residual's, zero before, at the positions that predict.
func (w *worker) lossAndHead(tasks []Task, share float64) Tally {
	var sum Tally
	for first, row := 0, 0; first < len(tasks); {
		last, n := first, 0
		for last < len(tasks) {
			more := 1
			for _, b := range tasks[last].Tree.Branch {
				more += len(b)
			}
			if n > 0 && n+more > headRows {
				break
			}
			n += more
			last++
		}
		w.chunk(tasks[first:last], row, n, share, &sum)
		first, row = last, row+n
	}
	return sum
}

// add takes the rows of tree i: the prompt's last token, then every token of
// every branch.
func (h *head) add(b *reference.Batch, i int, t Task) {
	h.rows = append(h.rows, b.End(i, -1)-1)
	for j := range t.Tree.Branch {
		for at := b.At(i, j, 0); at < b.End(i, j); at++ {
			h.rows = append(h.rows, at)
		}
	}
}

// chunk does so for tasks whose positions are the n from row on.
func (w *worker) chunk(tasks []Task, row, n int, share float64, sum *Tally) {
	h := &w.head
	model := w.model.Weights
	c := model.Config
	d, v := c.Dim, c.Vocab
	out, grad := w.pass.Out[row*d:], w.residual[row*d:]
	h.x, h.logits, h.lse = reference.Grow(h.x, n*d), reference.Grow(h.logits, n*v), reference.Grow(h.lse, n)
	for i := range n {
		kernel.RMSNorm(h.x[i*d:(i+1)*d], out[i*d:(i+1)*d], model.OutNorm, float32(c.Eps))
	}
	kernel.Gemm(nil, false, true, n, v, d, 1, h.x, d, model.Head, d, 0, h.logits, v)
	for i := range n {
		h.lse[i] = kernel.LogSumExp(h.logits[i*v : (i+1)*v])
	}
	first := 0
	for _, t := range tasks {
		first += w.example(t, first, share, sum)
	}
	kernel.Gemm(nil, false, false, n, d, v, 1, h.logits, v, model.Head, d, 0, h.x, d)
	for i := range n {
		normRow(grad[i*d:(i+1)*d], h.x[i*d:(i+1)*d], out[i*d:(i+1)*d], model.OutNorm, c.Eps)
	}
}

// example adds an example's loss to sum and turns its logits, from row first
// on, into their gradient. It returns how many rows it has.
func (w *worker) example(t Task, first int, share float64, sum *Tally) int {
	v := w.model.Weights.Config.Vocab
	h := &w.head
	scores := make([]float64, len(t.Answers))
	targets := make([][]target, len(t.Answers))
	rows := 1
	for j, a := range t.Answers {
		for i, id := range a {
			at := first // every answer's first token is predicted by the prompt's last
			if i > 0 {
				at = first + rows
				rows++
			}
			targets[j] = append(targets[j], target{at, id})
			scores[j] += float64(h.logits[at*v+int(id)] - h.lse[at])
		}
		scores[j] /= float64(len(a))
	}
	loss, slope := w.config.loss(scores)
	if t.lesson != nil {
		loss, slope = t.lesson.loss(w.config, scores)
	}
	sum.Loss += loss * share
	if len(scores) > 1 {
		sum.Ranked++
		if best(scores) == 0 {
			sum.Right++
		}
	}

	total := make([]float32, rows) // a row's slopes of its targets' log-probabilities
	for j, list := range targets {
		for _, x := range list {
			total[x.row-first] += float32(slope[j] * share / float64(len(list)))
		}
	}
	for i, s := range total {
		x := h.logits[(first+i)*v : (first+i+1)*v]
		kernel.Softmax(x)
		kernel.Scale(-s, x)
	}
	for j, list := range targets {
		for _, x := range list {
			h.logits[x.row*v+int(x.id)] += float32(slope[j] * share / float64(len(list)))
		}
	}
	return rows
}

// loss is the loss of an example whose answers have these mean
// log-probabilities a token, and its slope for each.
func (c Config) loss(scores []float64) (loss float64, slope []float64) {
	slope = make([]float64, len(scores))
	if c.Loss == LM {
		slope[0] = -1
		return -scores[0], slope
	}
	top := scores[best(scores)]
	var sum float64
	for j, s := range scores {
		slope[j] = math.Exp(c.RankScale * (s - top))
		sum += slope[j]
	}
	for j := range slope {
		slope[j] *= c.RankScale / sum
	}
	slope[0] -= c.RankScale + c.LMWeight
	return math.Log(sum) - c.RankScale*(scores[0]-top) - c.LMWeight*scores[0], slope
}

// best is the first of the highest.
func best(x []float64) int {
	at := 0
	for i, v := range x {
		if v > x[at] {
			at = i
		}
	}
	return at
}
