/// Schedule and selections inside WUVE, shared by the unit and its lanes.
///
/// Every value passes the streaming multiplier and then the adder. A move is a multiplication by 1
/// and an addition of -0, which keep every number and make a NaN canonical. Times are counted from
/// the cycle in which the last operand of a step is read:
///
///   VECTOR   operand 2, product 5, sum 9, result 10
///   UPDATE   s + d at 5, p + g at 9, q = rate * v at 13, w - q at 16; v is a result at 14, w at 21
///
/// The three additions of an UPDATE begin in three different phases of the three cycles that a step
/// takes, so one adder a lane is enough, and it never idles.
package wuve_pkg;

  /// from the operand to its product, both multipliers (cycles)
  parameter int unsigned MulCycles = 3;
  /// from the operands of the adder to the sum, padded to the longest adder (cycles)
  parameter int unsigned AddCycles = 4;
  /// from the read address to the lane: block RAM, then the steering register (cycles)
  parameter int unsigned OperandCycles = 2;

  /// read to the addition of a VECTOR, and of s + d (cycles)
  parameter int unsigned AddAt = OperandCycles + MulCycles;
  /// read to p + g (cycles)
  parameter int unsigned VelocityAddAt = AddAt + AddCycles;
  /// read to w - q (cycles)
  parameter int unsigned WeightAddAt = VelocityAddAt + AddCycles + MulCycles;

  /// read to the registered result of a VECTOR (cycles)
  parameter int unsigned ResultAt = AddAt + AddCycles + 1;
  /// read to v (cycles)
  parameter int unsigned VelocityAt = VelocityAddAt + AddCycles + 1;
  /// read to w and its FP16 copy (cycles)
  parameter int unsigned WeightAt = WeightAddAt + AddCycles + 1;

  /// FP32 1
  parameter logic [31:0] One = 32'h3f80_0000;

  /// What the adder of every lane adds in a cycle; `previous` is the product of the cycle before.
  typedef enum logic [2:0] {
    AddMove     = 3'd0,  // -0 + product
    AddRelu     = 3'd1,  // -0 + (product, or +0 where it is negative)
    AddMask     = 3'd2,  // -0 + (previous where product > 0, or +0)
    AddPair     = 3'd3,  // previous + product
    AddFirst    = 3'd4,  // +0 + product
    AddLoop     = 3'd5,  // an earlier sum + product
    AddVelocity = 3'd6,  // momentum * v + g
    AddWeight   = 3'd7   // w - rate * v
  } add_e;

endpackage : wuve_pkg
