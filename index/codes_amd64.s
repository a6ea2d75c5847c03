#include "textflag.h"

// func dotCodesAVX2(dst *int32, q *int16, rows *int8, n, width int)
TEXT ·dotCodesAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ q+8(FP), SI
	MOVQ rows+16(FP), DX
	MOVQ n+24(FP), CX
	MOVQ width+32(FP), R8

row:
	TESTQ CX, CX
	JLE   done
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	XORQ  R9, R9

block: // 32 codes, widened to 16 bits, times the query's
	// Spaces are larger than caches, and the processor looks ahead no further than
	// its page of 4 KiB: without this 300,000 rows take 16 ms instead of 10.
	PREFETCHT0 4096(DX)(R9*1)

	VPMOVSXBW (DX)(R9*1), Y2
	VPMOVSXBW 16(DX)(R9*1), Y3
	VPMADDWD  (SI)(R9*2), Y2, Y2
	VPMADDWD  32(SI)(R9*2), Y3, Y3
	VPADDD    Y2, Y0, Y0
	VPADDD    Y3, Y1, Y1
	ADDQ      $32, R9
	CMPQ      R9, R8
	JLT       block

	VPADDD       Y1, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0x4E, X0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0xB1, X0, X1
	VPADDD       X1, X0, X0
	VMOVD        X0, (DI)
	ADDQ         $4, DI
	ADDQ         R8, DX
	DECQ         CX
	JMP          row

done:
	VZEROUPPER
	RET
