package reference

import (
	"fmt"

	"crayon/internal/adapter"
	"crayon/internal/fault"
)

// Branches is a prefix and its continuations: the prefix is computed once, and
// each branch attends to it and to itself. No branch is a plain sequence.
type Branches struct {
	Prefix []int32
	Branch [][]int32
}

// Tokens is the number of tokens a pass over the tree computes.
func (b Branches) Tokens() int {
	n := len(b.Prefix)
	for _, x := range b.Branch {
		n += len(x)
	}
	return n
}

// Side is a low-rank path beside the linear layers with one weight for each
// stacked row; nil is the bare model.
type Side struct {
	Stack *adapter.Stack
	Row   []float32
}

// Batch is several trees laid one after another, each as its prefix and then
// its branches.
type Batch struct {
	Tokens   []int32
	Position []int       // of each token in its own sequence
	Rows     [][]float32 // a tree's weights, one a stacked row; nil without a side path
	Tree     []int       // the tree of each token
	Blocks   []Block     // the queries of attention
	start    [][]int     // a tree's first token, then the first of each branch, then its end
	longest  int         // largest position + 1
	width    int         // most rows * columns of scores a block has, for one query head
}

// Block is a run of query tokens that see Prefix keys from token Start on in
// common, and each its Part's own keys up to itself.
type Block struct {
	First, Last   int // query tokens [First, Last)
	Start, Prefix int
	Columns       int // Prefix + the longest part's own keys
	Parts         []Part
}

// Part is the queries [First, Last) of a block, which see the keys from Own up
// to themselves.
type Part struct{ First, Last, Own int }

// blockTokens bounds the queries of a block: small enough that little of the
// masked half of the scores is computed, large enough for a good product.
const blockTokens = 64

// NewBatch lays the trees out. rows holds each tree's weights, or is nil; its
// slices are kept.
func NewBatch(vocab int, trees []Branches, rows [][]float32) (*Batch, error) {
	b := &Batch{Rows: rows}
	if rows != nil && len(rows) != len(trees) {
		return nil, &fault.Error{Op: "lay out batch", Err: fmt.Errorf("%d trees, %d rows of weights", len(trees), len(rows))}
	}
	for i, tree := range trees {
		if len(tree.Prefix) == 0 {
			return nil, &fault.Error{Op: "lay out batch", Err: fmt.Errorf("sequence %d is empty", i)}
		}
		at := []int{len(b.Tokens)}
		b.add(i, tree.Prefix, 0)
		for _, x := range tree.Branch {
			at = append(at, len(b.Tokens))
			b.add(i, x, len(tree.Prefix))
		}
		at = append(at, len(b.Tokens))
		b.start = append(b.start, at)
		b.blocks(at)
	}
	for i, id := range b.Tokens {
		if id < 0 || int(id) >= vocab {
			return nil, &fault.Error{Op: "lay out batch", Err: fmt.Errorf("token %d is %d, the vocabulary has %d", i, id, vocab)}
		}
	}
	return b, nil
}

func (b *Batch) add(tree int, tokens []int32, from int) {
	for i := range tokens {
		b.Position = append(b.Position, from+i)
		b.Tree = append(b.Tree, tree)
	}
	b.Tokens = append(b.Tokens, tokens...)
	b.longest = max(b.longest, from+len(tokens))
}

func (b *Batch) blocks(at []int) {
	start, prefix := at[0], at[1]-at[0]
	push := func(k Block) {
		k.Start = start
		k.First, k.Last = k.Parts[0].First, k.Parts[len(k.Parts)-1].Last
		for _, p := range k.Parts {
			k.Columns = max(k.Columns, k.Prefix+p.Last-p.Own)
		}
		b.width = max(b.width, (k.Last-k.First)*k.Columns)
		b.Blocks = append(b.Blocks, k)
	}
	for i := start; i < at[1]; i += blockTokens {
		push(Block{Prefix: i - start, Parts: []Part{{i, min(i+blockTokens, at[1]), i}}})
	}
	var parts []Part
	size := 0
	flush := func() {
		if len(parts) > 0 {
			push(Block{Prefix: prefix, Parts: parts})
			parts, size = nil, 0
		}
	}
	for j := 1; j+1 < len(at); j++ {
		for i := at[j]; i < at[j+1]; i += blockTokens {
			end := min(i+blockTokens, at[j+1])
			if size+end-i > blockTokens {
				flush()
			}
			parts, size = append(parts, Part{i, end, at[j]}), size+end-i
		}
	}
	flush()
}

// At is the index in the batch of a token: branch -1 is the prefix.
func (b *Batch) At(tree, branch, i int) int { return b.start[tree][branch+1] + i }

// End is the index after the last token of a branch (-1: the prefix).
func (b *Batch) End(tree, branch int) int { return b.start[tree][branch+2] }
