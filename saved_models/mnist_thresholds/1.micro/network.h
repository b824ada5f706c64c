// network.tflite: int8 in and out, 20,656 bytes; it ran in an arena of 10,592 bytes.
//
//   pixel in [0, 1] = 0.00392156886 * (value - (-128))
//   logit = 0.150206804 * (value - (46))
//
// The operators that it needs:
//
//   tflite::MicroMutableOpResolver<8> resolver;
//   resolver.AddConv2D();
//   resolver.AddDepthwiseConv2D();
//   resolver.AddFullyConnected();
//   resolver.AddGather();
//   resolver.AddMaxPool2D();
//   resolver.AddMinimum();
//   resolver.AddRelu();
//   resolver.AddReshape();
#ifndef ANP_TF_NETWORK_H_
#define ANP_TF_NETWORK_H_

extern const unsigned char network_tflite[];
extern const unsigned int network_tflite_size;

#endif
