#include "textflag.h"

// func pause(n int64)
TEXT ·pause(SB), NOSPLIT, $0-8
	MOVD n+0(FP), R0
again:
	ISB $15
	SUB $1, R0
	CBNZ R0, again
	RET
