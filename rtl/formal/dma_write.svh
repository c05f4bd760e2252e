// Bounded proof of the write data of dma.sv: they come in the order of their addresses, the beats of a
// burst are as many as its address said, WLAST is with the last of them, no beat comes before its address
// is offered, and a beat that is offered waits and does not change. For all programs of transfers, all
// contents of the scratchpads, any back-pressure, and a stop at any time.
//
// One burst, an arbitrary one, is followed: by its number among the addresses, and among the data.
//
// Assumed: as in dma.svh; a write is answered after its data; a start of a program finds all beats sent, as
// quiet_o says; instructions come one after the other, and none after a stop.

(* anyconst *) logic [7:0] followed;
logic [7:0] addresses, bursts, beats;  // granted, sent whole; of the burst that is being sent
logic [7:0] length;
logic [9:0] reads_open, writes_open;
logic       was_offered, was_stop, occupied;
logic       data, offered_data, offered_last;

// A beat that waits: an arbitrary bit of it.
(* anyconst *) logic [$clog2(BeatBits)-1:0] bit_index;

assign data = axi_wdata_o[bit_index];

initial assume (!rst_ni);

always_ff @(posedge clk_i or negedge rst_ni) begin
  if (!rst_ni) begin
    addresses   <= 8'd0;
    bursts      <= 8'd0;
    beats       <= 8'd0;
    reads_open  <= 10'd0;
    writes_open <= 10'd0;
    was_offered <= 1'b0;
    was_stop    <= 1'b0;
    occupied    <= 1'b0;
  end else begin
    addresses   <= addresses + {7'd0, write_granted};
    bursts      <= bursts + {7'd0, beat_sent && axi_wlast_o};
    if (beat_sent) beats <= axi_wlast_o ? 8'd0 : beats + 8'd1;
    if (write_granted && addresses == followed) length <= axi_awlen_o;
    reads_open  <= reads_open + {9'd0, read_granted} - {9'd0, read_done};
    writes_open <= writes_open + {9'd0, write_granted} - {9'd0, write_done};
    was_stop    <= stop_i && !clear_i;
    occupied    <= !clear_i && (start_i || (occupied && !done_o));
    was_offered <= axi_wvalid_o && !axi_wready_i;
    {offered_data, offered_last} <= {data, axi_wlast_o};
  end
end

always_comb begin
  assume (!read_done || reads_open != 10'd0);
  assume (!write_done || (writes_open != 10'd0 && 8'(addresses - writes_open[7:0]) < bursts));
  assume (!start_i || !(occupied || stop_i || clear_i));
  assume (!was_stop || stop_i);
  assume (!clear_i || (quiet_o && beats == 8'd0));
  if (rst_ni) begin
    if (was_offered) assert (axi_wvalid_o && {data, axi_wlast_o} == {offered_data, offered_last});
    if (axi_wvalid_o) assert (bursts < addresses || (bursts == addresses && axi_awvalid_o));
    if (axi_wvalid_o && bursts == followed)
      assert (axi_wlast_o == (beats == (bursts < addresses ? length : axi_awlen_o)));
  end
end
