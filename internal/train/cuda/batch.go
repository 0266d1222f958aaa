//go:build linux && (amd64 || arm64)

package cuda

import (
	"math"
	"unsafe"

	nv "crayon/internal/cuda"
	"crayon/internal/reference"
)

// tree is one prompt with its answers, as a batch takes it.
type tree struct {
	shape   reference.Branches
	answers [][]int32 // whose tokens are predicted; branch j holds all but the last of answer j
	row     []float32 // weights, one a stacked row; shorter than the rank: zeros follow
}

// tileRows is how many rows of queries, and keyTile how many keys, a block of
// the attention kernels has.
const (
	tileRows = 64
	keyTile  = 64
)

// batch is trees laid one after another, each as its prompt and then its
// branches, with all that the kernels read about them as 32-bit numbers.
type batch struct {
	tokens, rows, targets, answers, examples int
	tiles, keyTiles                          int
	longest                                  int // largest position + 1
	chunks                                   []chunk
	place                                    [fields]int // where each field begins in its arena
	base                                     nv.Ptr      // of the arena on the device
}

// chunk is a run of whole trees whose logits are held at once.
type chunk struct {
	row, rows         int // positions that predict
	target, targets   int
	answer, answers   int
	example, examples int
}

// The fields of a batch, of 32-bit numbers.
const (
	fieldToken      = iota // a token
	fieldPosition          // a token
	fieldTree              // a token
	fieldShared            // a token: end of the keys that it shares with its siblings
	fieldOwn               // a token: first key of its own branch
	fieldPlace             // a token: its row, or -1
	fieldRows              // a row: its token
	fieldTiles             // four a tile of queries
	fieldKeyTiles          // four a tile of keys
	fieldTargetRow         // a target
	fieldTargetID          // a target
	fieldTargetOf          // a target: its answer
	fieldTargets           // an answer, and the end: its first target
	fieldAnswers           // an example, and the end: its first answer
	fieldRowTargets        // a row, and the end: its first place in list
	fieldList              // targets by row
	fieldFirst             // a tree: its first token
	fieldCount             // a tree: its prompt's tokens
	fieldWeights           // padded rank a tree, as float32
	fields
)

// at is a field's place on the device, or that of its i-th number.
func (b *batch) at(field, i int) nv.Ptr { return b.base + nv.Ptr(four*(b.place[field]+i)) }

// layout collects batches' numbers until they are copied to the device.
type layout struct{ numbers []int32 }

// add lays trees out. rank is the padded rank; logits of at most chunkRows
// positions are held at once, or of one tree if it has more.
func (l *layout) add(trees []tree, rank, rep, chunkRows int) *batch {
	b := &batch{examples: len(trees)}
	var f [fields][]int32
	put := func(field int, x ...int) {
		for _, v := range x {
			f[field] = append(f[field], int32(v))
		}
	}
	var now chunk
	flush := func() {
		if now.examples > 0 {
			b.chunks = append(b.chunks, now)
		}
		now = chunk{row: b.rows, target: b.targets, answer: b.answers, example: now.example + now.examples}
	}
	tileTokens := tileRows / rep
	for i, t := range trees {
		prompt := len(t.shape.Prefix)
		start, total := b.tokens, t.shape.Tokens()
		end := start + total
		if rows := predicting(t); now.rows > 0 && now.rows+rows > chunkRows {
			flush()
		}
		token := func(id int32, position, shared, own int) {
			f[fieldToken] = append(f[fieldToken], id)
			put(fieldPosition, position)
			put(fieldTree, i)
			put(fieldShared, shared)
			put(fieldOwn, own)
			b.longest = max(b.longest, position+1)
			b.tokens++
		}
		row := func(at int) int {
			put(fieldRows, at)
			b.rows++
			now.rows++
			return b.rows - 1
		}
		for j, id := range t.shape.Prefix {
			token(id, j, start, start)
			put(fieldPlace, -1)
		}
		var first int // the prompt's row
		if len(t.answers) > 0 {
			f[fieldPlace][b.tokens-1] = int32(b.rows)
			first = row(b.tokens - 1)
		}
		put(fieldAnswers, b.answers)
		for j, answer := range t.answers {
			put(fieldTargets, b.targets)
			own := b.tokens
			for k, id := range answer {
				at := first
				if k > 0 {
					token(t.shape.Branch[j][k-1], prompt+k-1, start+prompt, own)
					put(fieldPlace, b.rows)
					at = row(b.tokens - 1)
				}
				put(fieldTargetRow, at)
				f[fieldTargetID] = append(f[fieldTargetID], id)
				put(fieldTargetOf, b.answers)
				b.targets++
				now.targets++
			}
			b.answers++
			now.answers++
		}
		now.examples++
		put(fieldFirst, start)
		put(fieldCount, prompt)
		tiles := func(field, size int, count *int) {
			n := (total + size - 1) / size
			for j := range n {
				lo, hi := start+j*total/n, start+(j+1)*total/n
				put(field, lo, hi-lo, start, end)
				*count++
			}
		}
		tiles(fieldTiles, tileTokens, &b.tiles)
		tiles(fieldKeyTiles, keyTile, &b.keyTiles)
		for j := range rank {
			w := float32(0)
			if j < len(t.row) {
				w = t.row[j]
			}
			f[fieldWeights] = append(f[fieldWeights], int32(math.Float32bits(w)))
		}
	}
	flush()
	put(fieldAnswers, b.answers)
	put(fieldTargets, b.targets)
	b.byRow(&f)
	for i, x := range f {
		for len(l.numbers)%8 != 0 { // vectors of eight are read
			l.numbers = append(l.numbers, 0)
		}
		b.place[i] = len(l.numbers)
		l.numbers = append(l.numbers, x...)
	}
	return b
}

// byRow lists the targets of each row.
func (b *batch) byRow(f *[fields][]int32) {
	first := make([]int32, b.rows+1)
	for _, r := range f[fieldTargetRow] {
		first[r+1]++
	}
	for r := range b.rows {
		first[r+1] += first[r]
	}
	list, next := make([]int32, b.targets), append([]int32(nil), first...)
	for i, r := range f[fieldTargetRow] {
		list[next[r]] = int32(i)
		next[r]++
	}
	f[fieldRowTargets], f[fieldList] = first, list
}

// predicting is how many positions of a tree predict.
func predicting(t tree) int {
	if len(t.answers) == 0 {
		return 0
	}
	n := 1
	for _, x := range t.shape.Branch {
		n += len(x)
	}
	return n
}

// arena is memory of the host, pinned, and of the device, for the numbers of
// batches under way.
type arena struct {
	host   []byte
	device nv.Ptr
}

// send copies the layout to the device, where the batches find it. What the
// arena held before must be done with.
func (r *replica) send(a *arena, l *layout, batches ...*batch) error {
	if need := four * len(l.numbers); need > len(a.host) {
		if err := r.stream.Wait(); err != nil {
			return err
		}
		if err := r.give(a.device); err != nil {
			return err
		}
		host, err := r.device.Pinned(need + need/4)
		if err != nil {
			return err
		}
		r.pinned = append(r.pinned, host)
		a.host = host
		if a.device, err = r.take(len(host), 1); err != nil {
			return err
		}
	}
	if len(l.numbers) > 0 {
		numbers := unsafe.Slice((*int32)(unsafe.Pointer(&a.host[0])), len(a.host)/four)
		copy(numbers, l.numbers)
		if err := nv.Upload(r.stream, a.device, numbers[:len(l.numbers)]); err != nil {
			return err
		}
	}
	for _, b := range batches {
		b.base = a.device
	}
	return nil
}
