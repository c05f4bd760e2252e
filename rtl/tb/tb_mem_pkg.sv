/// Access to the memories that a bench shares with the design (tb/dpi_mem.cpp): words of `bytes` bytes,
/// at most 128, a multiple of 4. A write names its lanes, at most 64 of `lane_bytes` bytes.
package tb_mem_pkg;

  import "DPI-C" function void dpi_mem_read(
    input int number, input int address, input int bytes, output bit [1023:0] data
  );

  import "DPI-C" function void dpi_mem_write(
    input int number, input int address, input int bytes, input int lane_bytes,
    input bit [63:0] lanes, input bit [1023:0] data
  );

endpackage : tb_mem_pkg
