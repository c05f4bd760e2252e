// Proof of dma.sv: a request that is offered waits for its grant and does not change, reads and writes
// are never offered together, and at most Outstanding bursts are in flight.
//
// Assumed: the memory answers only what was granted; a start of a program finds the port quiet. Write data
// and their order: dma_write.svh.

logic [9:0] reads, writes;  // granted and not answered
logic was_ar, was_aw;
logic [47:0] was_asked;

initial assume (!rst_ni);

always_ff @(posedge clk_i or negedge rst_ni) begin
  if (!rst_ni) begin
    was_ar <= 1'b0;
    was_aw <= 1'b0;
    reads  <= 10'd0;
    writes <= 10'd0;
  end else begin
    was_ar    <= axi_arvalid_o && !axi_arready_i;
    was_aw    <= axi_awvalid_o && !axi_awready_i;
    was_asked <= {axi_araddr_o, axi_arlen_o};
    reads     <= reads + {9'd0, read_granted} - {9'd0, read_done};
    writes    <= writes + {9'd0, write_granted} - {9'd0, write_done};
  end
end

always_comb begin
  assume (!read_done || reads != 10'd0);
  assume (!write_done || writes != 10'd0);
  assume (!clear_i || (!request_valid_q && reads == 10'd0 && writes == 10'd0));
  if (rst_ni) begin
    if (was_ar) assert (axi_arvalid_o && {axi_araddr_o, axi_arlen_o} == was_asked);
    if (was_aw) assert (axi_awvalid_o && {axi_awaddr_o, axi_awlen_o} == was_asked);
    assert (!(axi_arvalid_o && axi_awvalid_o));
    assert (reads + writes <= Outstanding);
    // What makes the induction go through.
    assert (flight_q == reads + writes);
    assert (reads <= Outstanding && writes <= Outstanding);
  end
end
